"""The training step: pure, one screen."""

import jax
import jax.numpy as jnp

from ns_jax.models.layers import normalize_images
from ns_jax.parallel.mesh import batch_sharding, gather_params, replicated, split_by_batch
from ns_jax.training.losses import combine, cross_entropy, pseudo_targets, smoothed_labels
from ns_jax.training.optimizer import l2_penalty
from ns_jax.training.schedule import ema_decay
from ns_jax.training.state import TrainState


def interleave(labeled, unlabeled, devices: int):
    """Concatenates two batches device by device, so that each device mixes its own rows only."""
    split = [x.reshape(devices, -1, *x.shape[1:]) for x in (labeled, unlabeled)]
    return jnp.concatenate(split, axis=1).reshape(-1, *labeled.shape[1:])


def separate(mixed, num_labeled: int, devices: int):
    """Undoes `interleave`."""
    rows = mixed.reshape(devices, -1, *mixed.shape[1:])
    parts = rows[:, : num_labeled // devices], rows[:, num_labeled // devices :]
    return [part.reshape(-1, *mixed.shape[1:]) for part in parts]


def with_noise_keys(batch, config, key):
    """Adds what tells the examples of a step apart, before it is taken apart: `id` and `unlabeled_id` (-1: no
    model noise), by which noise is drawn, and where labeled images are sampled, which are: `drawn`."""
    num_labeled, num_unlabeled = len(batch.get("image", ())), len(batch.get("unlabeled_image", ()))
    added = {}
    if num_labeled:
        added["id"] = jnp.arange(num_labeled)
        if config.labeled_sample_prob < 1:
            added["drawn"] = jax.random.uniform(key, (num_labeled,)) < config.labeled_sample_prob
    if num_unlabeled:
        ids = num_labeled + jnp.arange(num_unlabeled)
        added["unlabeled_id"] = ids if config.noise.model_noise_unlabeled else jnp.full_like(ids, -1)
    return batch | added


def mix(batch, devices: int):
    """(images, ids) of a batch: labeled and unlabeled ones, interleaved where there are both."""
    pairs = [(batch[f"{name}image"], batch[f"{name}id"]) for name in ("", "unlabeled_") if f"{name}image" in batch]
    return pairs[0] if len(pairs) == 1 else tuple(interleave(*both, devices) for both in zip(*pairs, strict=True))


def mean_over_parts(function, batch, parts: int, mesh):
    """The mean of `function` over `parts` equal parts of a batch, in sequence; each device cuts its own rows."""
    if parts == 1:
        return function(batch)

    def split(x):
        rows = x.reshape(mesh.size, parts, -1, *x.shape[1:]).swapaxes(0, 1)
        return split_by_batch(mesh, rows.reshape(parts, -1, *x.shape[1:]), axis=1)

    def add(total, part):
        return jax.tree.map(jnp.add, total, function(part)), None

    batch = jax.tree.map(split, batch)
    zeros = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(function, jax.tree.map(lambda x: x[0], batch))
    )
    total, _ = jax.lax.scan(add, zeros, batch)
    return jax.tree.map(lambda x: x / parts, total)


def make_train_step(config, model, optimizer, schedule, like: TrainState, teacher=None):
    """Jitted (state, batch) -> (state, metrics), or with an online teacher, a linen module, (state,
    batch, its variables) -> (state, metrics). `state` is donated.

    batch: image uint8 [L, size, size, 3] and label int32 [L]; with pseudo-labels also
    unlabeled_image uint8 [U, ...] and probs float32 [U, classes], or these two alone. An online
    teacher makes probs of clean_image float32 [U, its size, its size, 3].
    metrics: float32 scalars. `like`: a state, or its shapes and shardings.
    """
    mesh, mean, std = like.step.sharding.mesh, model.variant.mean, model.variant.std

    def data_loss(logits, batch):
        """(loss, metrics) without weight decay."""
        metrics, num_labeled, unlabeled_logits = {}, len(batch.get("label", ())), logits[:0]
        if "probs" in batch:
            parts = separate(logits, num_labeled, mesh.size) if num_labeled else (logits[:0], logits)
            logits, unlabeled_logits = parts
        labeled_loss = unlabeled_loss = jnp.zeros(0)
        if num_labeled:
            targets = smoothed_labels(batch["label"], logits.shape[-1], config.label_smoothing)
            labeled_loss = cross_entropy(logits, targets)
            metrics |= {"labeled_loss": labeled_loss.mean(), "accuracy": (logits.argmax(-1) == batch["label"]).mean()}
            if "drawn" in batch:
                labeled_loss = jnp.where(batch["drawn"], labeled_loss, 0.0)
        if "probs" in batch:
            unlabeled_loss = cross_entropy(unlabeled_logits, pseudo_targets(batch["probs"], config))
            agreement = unlabeled_logits.argmax(-1) == batch["probs"].argmax(-1)
            metrics |= {"unlabeled_loss": unlabeled_loss.mean(), "teacher_agreement": agreement.mean()}
        return combine(labeled_loss, unlabeled_loss, config.loss_reduction, config.labeled_sample_prob), metrics

    def step(state: TrainState, batch, teacher_variables=None):
        noise = jax.random.fold_in(jax.random.key(config.seed), state.step)

        def loss_fn(params, batch):
            if teacher is not None:
                batch = batch | {"probs": probabilities(teacher, teacher_variables, batch["clean_image"])}
            images, ids = mix(batch, mesh.size)
            images = split_by_batch(mesh, normalize_images(images, mean, std, model.dtype))
            logits, updates = model.apply(
                {"params": gather_params(mesh, params, model.dtype), "batch_stats": state.batch_stats},
                images,
                train=True,
                example_ids=ids,
                mutable=["batch_stats"],
                rngs={"noise": noise},
            )
            loss, metrics = data_loss(logits, batch)
            loss = loss + config.weight_decay * l2_penalty(params, config.frozen_blocks)
            return loss, (updates["batch_stats"], metrics | {"loss": loss})

        gradients, (batch_stats, metrics) = mean_over_parts(
            lambda part: jax.grad(loss_fn, has_aux=True)(state.params, part),
            with_noise_keys(batch, config, jax.random.fold_in(noise, 1)),
            config.parallel.accumulation_steps,
            mesh,
        )
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = jax.tree.map(jnp.add, state.params, updates)
        decay = ema_decay(config.ema_decay, state.step + 1)
        average = lambda ema, new: ema - (1.0 - decay) * (ema - new)
        metrics["learning_rate"] = schedule(state.step)
        state = TrainState(
            state.step + 1,
            params,
            batch_stats,
            opt_state,
            jax.tree.map(average, state.ema_params, params),
            jax.tree.map(average, state.ema_batch_stats, batch_stats),
        )
        return state, metrics

    placed, whole, split = jax.tree.map(lambda leaf: leaf.sharding, like), replicated(mesh), batch_sharding(mesh)
    of_arguments = (placed, split) if teacher is None else (placed, split, whole)
    return jax.jit(step, in_shardings=of_arguments, out_shardings=(placed, whole), donate_argnums=0)


def probabilities(model, variables, images, **noise):
    """Images [N, size, size, 3] on 0..255 to probabilities float32 [N, classes]."""
    images = normalize_images(images, model.variant.mean, model.variant.std, model.dtype)
    return jax.nn.softmax(model.apply(variables, images, train=False, **noise))


def make_predict(model, mesh, noise_seed: int | None = None):
    """Jitted (variables, images [N, size, size, 3] on 0..255, ids) -> probabilities float32 [N, classes].

    ids: int32 [N], by which `noise_seed` draws dropout and stochastic depth (the ablation's noised
    teacher); without a seed there is no noise.
    """

    def predict(variables, images, ids):
        noise = {} if noise_seed is None else {"example_ids": ids, "rngs": {"noise": jax.random.key(noise_seed)}}
        return probabilities(model, variables, images, **noise)

    split = batch_sharding(mesh)
    return jax.jit(predict, in_shardings=(replicated(mesh), split, split), out_shardings=split)
