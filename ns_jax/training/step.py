"""The training step: pure, one screen."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from ns_jax.models.apply import collections, probabilities
from ns_jax.models.base import Network
from ns_jax.parallel.mesh import batch_sharding, gather_params, replicated, split_by_batch
from ns_jax.training.batching import add_example_ids, mean_over_parts, mix, separate
from ns_jax.training.losses import (
    LossSettings,
    adjusted,
    combine,
    cross_entropy,
    pseudo_targets,
    smoothed_labels,
    weighted,
)
from ns_jax.training.optimizer import decay_mask, l2_penalty
from ns_jax.training.schedule import ema_decay
from ns_jax.training.state import TrainState


@dataclasses.dataclass(frozen=True)
class StepSettings:
    """What a training step computes, beside the model and the optimizer.

    Attributes:
      loss: see `LossSettings`.
      weight_decay: L2 in the loss.
      ema_decay: of parameters and batch_stats, see `ema_decay`.
      seed: of the model's noise.
      noise_unlabeled: whether pseudo-labeled images have model noise.
      accumulation_steps: parts of a batch, in sequence, each with batch norm statistics of its own.
      ema_teaches: whether the EMA of the student makes probs from clean_image inside the step.
    """

    loss: LossSettings = dataclasses.field(default_factory=LossSettings)
    weight_decay: float = 0.0
    ema_decay: float = 0.9999
    seed: int = 0
    noise_unlabeled: bool = True
    accumulation_steps: int = 1
    ema_teaches: bool = False


def data_loss(logits: jax.Array, batch: dict, settings: LossSettings, devices: int) -> tuple[jax.Array, dict]:
    """(loss without weight decay, metrics) of logits [N, classes], labeled and unlabeled ones interleaved."""
    num_labeled, metrics = len(batch.get("label", ())), {}
    labeled_loss = unlabeled_loss = jnp.zeros(0)
    labeled_logits, unlabeled_logits = separate(logits, num_labeled, devices)
    if num_labeled:
        targets = smoothed_labels(batch["label"], logits.shape[-1], settings.label_smoothing)
        labeled_loss = cross_entropy(adjusted(labeled_logits, settings.logit_adjustment), targets)
        metrics["labeled_loss"] = labeled_loss.mean()
        metrics["accuracy"] = (labeled_logits.argmax(-1) == batch["label"]).mean()
        if "drawn" in batch:
            labeled_loss = jnp.where(batch["drawn"], labeled_loss, 0.0)
    if "probs" in batch:
        unlabeled_loss = cross_entropy(unlabeled_logits, pseudo_targets(batch["probs"], settings))
        unlabeled_loss = weighted(unlabeled_loss, batch["probs"], settings)
        metrics["unlabeled_loss"] = unlabeled_loss.mean()
        metrics["teacher_agreement"] = (unlabeled_logits.argmax(-1) == batch["probs"].argmax(-1)).mean()
    return combine(labeled_loss, unlabeled_loss, settings.reduction, settings.labeled_sample_prob), metrics


def make_train_step(
    network: Network, optimizer, schedule: Callable, like: TrainState, settings: StepSettings,
    teacher: Network | None = None,
):  # fmt: skip
    """Jitted (state, batch) -> (state, metrics); with an online teacher (state, batch, its variables) -> ...

    Args:
      network: the student.
      optimizer: an optax transformation.
      schedule: step to learning rate, for the metrics.
      like: a state, or its shapes and shardings. The step donates its first argument.
      settings: see `StepSettings`.
      teacher: an online teacher, which makes probs from clean_image [U, ...] inside the step; None where there is none,
        or where it is the student's own EMA.

    The batch has image [L, ...] and label int32 [L], or unlabeled_image [U, ...] and probs float32 [U, classes], or
    both. metrics: float32 scalars.
    """
    mesh, architecture, options = like.step.sharding.mesh, network.architecture, network.options
    decaying = decay_mask(architecture, like.params, options.frozen_blocks)

    def step(state: TrainState, batch, teacher_variables=None):
        noise = jax.random.fold_in(jax.random.key(settings.seed), state.step)

        def loss_fn(params, batch):
            if teacher is not None:
                batch = batch | {"probs": probabilities(teacher, teacher_variables, batch["clean_image"])}
            elif settings.ema_teaches:
                ema = gather_params(mesh, state.ema_params, options.dtype, architecture.is_split)
                variables = {"params": ema, "batch_stats": state.ema_batch_stats}
                batch = batch | {"probs": probabilities(network, variables, batch["clean_image"])}
            examples, ids = mix(batch, mesh.size)
            examples = split_by_batch(mesh, network.prepare(examples))
            whole = gather_params(mesh, params, options.dtype, architecture.is_split)
            logits, updates = network.module.apply(
                collections({"params": whole, "batch_stats": state.batch_stats}),
                examples, train=True, example_ids=ids, mutable=["batch_stats"], rngs={"noise": noise},
            )  # fmt: skip
            loss, metrics = data_loss(logits, batch, settings.loss, mesh.size)
            loss = loss + settings.weight_decay * l2_penalty(params, decaying)
            return loss, (updates.get("batch_stats", {}), metrics | {"loss": loss})

        ids_key = jax.random.fold_in(noise, 1)
        batch = add_example_ids(batch, ids_key, settings.loss.labeled_sample_prob, settings.noise_unlabeled)
        grad_fn = lambda part: jax.grad(loss_fn, has_aux=True)(state.params, part)
        gradients, (batch_stats, metrics) = mean_over_parts(grad_fn, batch, settings.accumulation_steps, mesh)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = jax.tree.map(jnp.add, state.params, updates)
        decay = ema_decay(settings.ema_decay, state.step + 1)
        # As TensorFlow rounds it; optax.incremental_update rounds differently.
        average = lambda ema, new: ema - (1.0 - decay) * (ema - new)
        ema_params = jax.tree.map(average, state.ema_params, params)
        ema_batch_stats = jax.tree.map(average, state.ema_batch_stats, batch_stats)
        metrics["learning_rate"] = schedule(state.step)
        return TrainState(state.step + 1, params, batch_stats, opt_state, ema_params, ema_batch_stats), metrics

    placed, whole, split = jax.tree.map(lambda leaf: leaf.sharding, like), replicated(mesh), batch_sharding(mesh)
    arguments = (placed, split) if teacher is None else (placed, split, whole)
    return jax.jit(step, in_shardings=arguments, out_shardings=(placed, whole), donate_argnums=0)
