"""Learning rate and EMA decay as functions of the step."""

import math

import jax.numpy as jnp


def steps_per_epoch(config, num_labeled: int) -> float:
    """Steps in which as many labeled images are trained on as there are."""
    return num_labeled / (config.labeled_batch_size * config.labeled_sample_prob)


def num_train_steps(config, num_labeled: int) -> int:
    return max(1, round(config.train_epochs * steps_per_epoch(config, num_labeled)))


def learning_rate_schedule(config, num_labeled: int):
    """Linear warm-up, then staircase decay counted from step 0 (official code).

    The rate scales with the labeled batch only, the sampled share of it. `schedule_start_epoch` leaves out
    the beginning. `final_base_learning_rate` sets the length of a
    stair so that the rate arrives there at the end (the official SVHN experiment): the decay is
    then 0.97 a stair and the warm-up's epochs do not count.

    Returns:
      A function of the step (int or int32 array) to a float32 scalar.
    """
    scale = config.labeled_batch_size * config.labeled_sample_prob / 256
    peak = config.base_learning_rate * scale
    epoch = steps_per_epoch(config, num_labeled)
    decay_epochs = config.decay_epochs
    if config.final_base_learning_rate:
        stairs = math.log(config.final_base_learning_rate / config.base_learning_rate) / math.log(config.decay_rate)
        decay_epochs = (config.train_epochs - config.warmup_epochs) / stairs
    warmup_steps = int(config.warmup_epochs * epoch)
    decay_steps = decay_epochs * epoch
    first_step = round(config.schedule_start_epoch * epoch)

    def schedule(step):
        step = jnp.asarray(step, jnp.float32) + first_step
        decayed = peak * config.decay_rate ** jnp.floor(step / decay_steps)
        warm = peak * step / max(warmup_steps, 1)
        return jnp.where(step < warmup_steps, warm, decayed).astype(jnp.float32)

    return schedule


def ema_decay(decay: float, num_updates):
    """min(decay, (1 + n) / (10 + n)) after n updates, this one counted (TensorFlow's warm-up)."""
    n = jnp.asarray(num_updates, jnp.float32)
    return jnp.minimum(jnp.float32(decay), (1.0 + n) / (10.0 + n))
