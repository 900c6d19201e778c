"""A few training steps of a tiny model on random images."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from ns_jax.configs import mnist5k
from ns_jax.models.efficientnet.network import EfficientNet
from ns_jax.models.variants import get_variant
from ns_jax.parallel.mesh import make_mesh
from ns_jax.training.optimizer import make_optimizer
from ns_jax.training.state import create_state
from ns_jax.training.step import make_train_step

L, U = 8, 16
SMALL = get_variant("efficientnet-small")
TINY = dataclasses.replace(SMALL, stages=SMALL.stages[:2])  # three blocks
DEEP = dataclasses.replace(TINY, depth=2.0)  # has a run of three equal blocks


def mesh_of(devices, shard_state=1):
    return make_mesh(shard_state, jax.devices()[:devices])


def batch(seed, unlabeled=True):
    rng = np.random.default_rng(seed)
    found = {"image": rng.integers(0, 256, (L, 28, 28, 3), np.uint8), "label": np.arange(L, dtype=np.int32)}
    if unlabeled:
        found |= {
            "unlabeled_image": rng.integers(0, 256, (U, 28, 28, 3), np.uint8),
            "probs": rng.dirichlet(np.ones(10), U).astype(np.float32),
        }
    return found


def make(devices, shard_state=1, row=TINY, model_options=None, **changes):
    """(fresh state, step) of changes to a config."""
    config = mnist5k.get_config()
    config.labeled_batch_size = L
    config.update(changes)
    mesh = mesh_of(devices, shard_state)
    model = EfficientNet(row, 10, frozen_blocks=config.frozen_blocks, **model_options or {})
    schedule = lambda step: jnp.float32(0.01)
    optimizer = make_optimizer(config, schedule)
    state = create_state(model, optimizer, 0, 28, mesh)
    return state, make_train_step(config, model, optimizer, schedule, state)


def train(devices, steps=3, only=(), change_batch=lambda batch: batch, **options):
    """(losses, last state) of `steps` steps."""
    state, step = make(devices, **options)
    losses = []
    for number in range(steps):
        fed = change_batch(batch(number))
        state, metrics = step(state, {key: fed[key] for key in only or fed})
        losses.append(float(metrics["loss"]))
    return losses, jax.device_get(state)
