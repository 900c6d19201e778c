"""Learning rate and EMA decay as functions of the step."""

import dataclasses
import math

import jax.numpy as jnp
import optax


@dataclasses.dataclass(frozen=True)
class ScheduleSettings:
    """The learning rate of a run. Rates are per 256 labeled images; durations are epochs of the labeled images.

    Attributes:
      base_learning_rate: after the warm-up.
      warmup_epochs: linear.
      decay_epochs: the rate is multiplied by `decay_rate` every so many epochs.
      decay_rate: see `decay_epochs`.
      train_epochs: length of the run.
      start_epoch: leaves out the beginning of the schedule.
      final_base_learning_rate: above 0 it replaces `decay_epochs`, see `learning_rate_schedule`.
      labeled_batch_size: labeled images per step, over all devices.
      labeled_sample_prob: share of them that counts.
    """

    base_learning_rate: float
    warmup_epochs: float
    decay_epochs: float
    decay_rate: float
    train_epochs: float
    start_epoch: float = 0.0
    final_base_learning_rate: float = 0.0
    labeled_batch_size: int = 256
    labeled_sample_prob: float = 1.0

    @property
    def counted_batch_size(self) -> float:
        """Labeled images of a step that count."""
        return self.labeled_batch_size * self.labeled_sample_prob


def num_train_steps(settings: ScheduleSettings, num_labeled: int) -> int:
    """Steps in which `train_epochs` times as many labeled images are trained on as there are, at least one."""
    return max(1, round(settings.train_epochs * (num_labeled / settings.counted_batch_size)))


def learning_rate_schedule(settings: ScheduleSettings, num_labeled: int):
    """Linear warm-up, then staircase decay counted from step 0 (official code).

    The rate scales with the counted labeled batch only. `final_base_learning_rate` sets the length of a step of the
    staircase so that the rate arrives there at the end (the official SVHN experiment): the decay is then 0.97 a step
    and the warm-up's epochs do not count.

    Returns:
      A function of the step (int or int32 array) to a float32 scalar.
    """
    peak = settings.base_learning_rate * (settings.counted_batch_size / 256)
    steps_per_epoch = num_labeled / settings.counted_batch_size
    decay_epochs = settings.decay_epochs
    if settings.final_base_learning_rate:
        ratio = settings.final_base_learning_rate / settings.base_learning_rate
        num_decays = math.log(ratio) / math.log(settings.decay_rate)
        decay_epochs = (settings.train_epochs - settings.warmup_epochs) / num_decays
    warmup_steps = int(settings.warmup_epochs * steps_per_epoch)
    first_step = round(settings.start_epoch * steps_per_epoch)
    staircase = optax.exponential_decay(peak, decay_epochs * steps_per_epoch, settings.decay_rate, staircase=True)

    def schedule(step):
        step = jnp.asarray(step, jnp.float32) + first_step
        # Not optax's linear schedule, which counts down from the end and rounds differently.
        warmup = peak * step / max(warmup_steps, 1)
        return jnp.where(step < warmup_steps, warmup, staircase(step)).astype(jnp.float32)

    return schedule


def ema_decay(decay: float, num_updates):
    """min(decay, (1 + n) / (10 + n)) after n updates, this one counted (TensorFlow's warm-up)."""
    n = jnp.asarray(num_updates, jnp.float32)
    return jnp.minimum(jnp.float32(decay), (1.0 + n) / (10.0 + n))
