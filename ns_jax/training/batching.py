"""How labeled and unlabeled examples share a step: per-example ids, one batch per device, parts of a batch."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ns_jax.parallel.mesh import split_by_batch


def interleave(labeled: jax.Array, unlabeled: jax.Array, devices: int) -> jax.Array:
    """Concatenates two batches device by device, so that each device mixes its own examples only."""
    split = [x.reshape(devices, -1, *x.shape[1:]) for x in (labeled, unlabeled)]
    return jnp.concatenate(split, axis=1).reshape(-1, *labeled.shape[1:])


def separate(mixed: jax.Array, num_labeled: int, devices: int) -> tuple[jax.Array, jax.Array]:
    """Undoes `interleave`: (labeled, unlabeled), one of them possibly empty."""
    per_device = mixed.reshape(devices, -1, *mixed.shape[1:])
    cut = num_labeled // devices
    labeled, unlabeled = per_device[:, :cut], per_device[:, cut:]
    return labeled.reshape(-1, *mixed.shape[1:]), unlabeled.reshape(-1, *mixed.shape[1:])


def add_example_ids(batch: dict, key: jax.Array, labeled_sample_prob: float, noise_unlabeled: bool) -> dict:
    """Adds per-example ids, from which noise is drawn; runs before the batch is split into parts.

    Returns:
      `batch` with id int32 [L] and unlabeled_id int32 [U] (-1: no model noise), as far as it has such examples; with
      sampled labeled images also drawn, bool [L].
    """
    num_labeled, num_unlabeled = len(batch.get("image", ())), len(batch.get("unlabeled_image", ()))
    ids = {}
    if num_labeled:
        ids["id"] = jnp.arange(num_labeled)
        if labeled_sample_prob < 1:
            ids["drawn"] = jax.random.uniform(key, (num_labeled,)) < labeled_sample_prob
    if num_unlabeled:
        unlabeled = num_labeled + jnp.arange(num_unlabeled)
        ids["unlabeled_id"] = unlabeled if noise_unlabeled else jnp.full_like(unlabeled, -1)
    return batch | ids


def mix(batch: dict, devices: int) -> tuple[jax.Array, jax.Array]:
    """(examples, ids) of a batch, labeled and unlabeled ones interleaved where there are both."""
    if "unlabeled_image" not in batch:
        return batch["image"], batch["id"]
    if "image" not in batch:
        return batch["unlabeled_image"], batch["unlabeled_id"]
    examples = interleave(batch["image"], batch["unlabeled_image"], devices)
    return examples, interleave(batch["id"], batch["unlabeled_id"], devices)


def mean_over_parts(function: Callable, batch: dict, parts: int, mesh):
    """The mean of `function` over `parts` equal parts of a batch, in sequence; each device cuts its own examples."""
    if parts == 1:
        return function(batch)

    def split(x):
        # [devices, parts, n, ...] to [parts, devices * n, ...]
        rows = x.reshape(mesh.size, parts, -1, *x.shape[1:]).swapaxes(0, 1)
        return split_by_batch(mesh, rows.reshape(parts, -1, *x.shape[1:]), axis=1)

    def add(total, part):
        return jax.tree.map(jnp.add, total, function(part)), None

    batch = jax.tree.map(split, batch)
    shapes = jax.eval_shape(function, jax.tree.map(lambda x: x[0], batch))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    total, _ = jax.lax.scan(add, zeros, batch)
    return jax.tree.map(lambda x: x / parts, total)
