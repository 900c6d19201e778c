"""A few training steps of a tiny model on random images."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from ns_jax.models.base import BuildOptions, build_network
from ns_jax.models.registry import get_architecture
from ns_jax.parallel.mesh import make_mesh
from ns_jax.training.losses import LossSettings
from ns_jax.training.optimizer import make_optimizer
from ns_jax.training.state import abstract_state, create_state
from ns_jax.training.step import StepSettings, make_train_step
from tests.tiny_model import tiny_efficientnet

L, U = 8, 16
SMALL = get_architecture("efficientnet-small")
TINY = tiny_efficientnet()
DEEP = dataclasses.replace(TINY, depth=1.5)  # has two equal blocks in sequence
OPTIONS = BuildOptions(stochastic_depth_rate=0.2)
LOSS = LossSettings(temperature=0.5)
SETTINGS = StepSettings(loss=LOSS, weight_decay=1e-5, ema_decay=0.98)


def constant_rate(step):
    return jnp.float32(0.01)


def rmsprop(schedule=constant_rate):
    return make_optimizer(schedule, decay=0.9, momentum=0.9, epsilon=1e-3)


def mesh_of(devices, shard_state=1):
    return make_mesh(shard_state, jax.devices()[:devices])


def batch(seed, unlabeled=True):
    rng = np.random.default_rng(seed)
    examples = {"image": rng.integers(0, 256, (L, 28, 28, 3), np.uint8), "label": np.arange(L, dtype=np.int32)}
    if unlabeled:
        examples["unlabeled_image"] = rng.integers(0, 256, (U, 28, 28, 3), np.uint8)
        examples["probs"] = rng.dirichlet(np.ones(10), U).astype(np.float32)
    return examples


@functools.cache  # it is compiled
def first_state(architecture, scan_blocks):
    """The state before the first step, as NumPy arrays: the same whatever the devices."""
    network = build_network(architecture, 10, BuildOptions(scan_blocks=scan_blocks))
    return jax.device_get(create_split_state(1, 1, network))


def create_split_state(devices, shard_state, network):
    """A fresh state as a run makes it, on its devices."""
    like = abstract_state(network, rmsprop(), 28, mesh_of(devices, shard_state))
    return create_state(network, rmsprop(), 0, 28, like)


@functools.cache  # so is each step
def make_step(devices, shard_state, architecture, options, settings, teacher):
    """(shardings of the state, step)."""
    network, optimizer = build_network(architecture, 10, options), rmsprop()
    like = abstract_state(network, optimizer, 28, mesh_of(devices, shard_state))
    step = make_train_step(network, optimizer, constant_rate, like, settings, teacher)
    return jax.tree.map(lambda leaf: leaf.sharding, like), step


def make(devices, shard_state=1, architecture=TINY, options=OPTIONS, settings=SETTINGS, teacher=None):
    """(fresh state, step)."""
    shardings, step = make_step(devices, shard_state, architecture, options, settings, teacher)
    first = jax.tree.map(np.copy, first_state(architecture, options.scan_blocks))  # a step takes its state's memory
    return jax.device_put(first, shardings), step


def train(devices, steps=3, only=(), change_batch=lambda batch: batch, **options):
    """(losses, last state) of `steps` steps."""
    state, step = make(devices, **options)
    losses = []
    for number in range(steps):
        fed = change_batch(batch(number))
        state, metrics = step(state, {key: fed[key] for key in only or fed})
        losses.append(float(metrics["loss"]))
    return losses, jax.device_get(state)
