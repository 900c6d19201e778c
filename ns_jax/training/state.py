"""Everything that a training step changes."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from ns_jax.models.base import Network
from ns_jax.parallel.mesh import state_shardings


@flax.struct.dataclass
class TrainState:
    """step: int32 scalar, updates done. The rest are trees of float32 arrays in plain dicts.

    `ema_params` and `ema_batch_stats` are what evaluation, the next iteration and export read. `batch_stats` and its
    EMA are empty for a network without batch norm.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    ema_params: Any
    ema_batch_stats: Any


def start_state(variables: dict, optimizer) -> TrainState:
    """The state in which training starts from {params, batch_stats}. The EMA shares their arrays."""
    params, batch_stats = variables["params"], variables["batch_stats"]
    return TrainState(jnp.zeros((), jnp.int32), params, batch_stats, optimizer.init(params), params, batch_stats)


def abstract_state(network: Network, optimizer, resolution: int | None, mesh) -> TrainState:
    """Shapes, dtypes and shardings of `create_state`'s result."""
    shapes = jax.eval_shape(lambda: start_state(network.init(0, resolution), optimizer))
    shardings = state_shardings(mesh, shapes, network.architecture.is_split)
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes, shardings
    )


def create_state(network: Network, optimizer, seed: int, resolution: int | None, like: TrainState) -> TrainState:
    """A fresh state, placed as `like` is; nothing large is made on a single device first."""
    shardings = jax.tree.map(lambda leaf: leaf.sharding, like)
    platform = like.step.sharding.mesh.devices.flat[0].platform
    # Run once, the program takes the CPU's compiler as long as the training step. The same bits, in half the time.
    quick = {"xla_backend_optimization_level": 1} if platform == "cpu" else None
    create = jax.jit(
        lambda: start_state(network.init(seed, resolution), optimizer), out_shardings=shardings, compiler_options=quick
    )
    return create()


def tree_checksums(tree) -> list:
    """Per leaf, the wrapping uint32 sum of its bits: the same on any layout, changed by any flip."""

    def checksum(leaf):
        words = jax.lax.bitcast_convert_type(leaf, jnp.uint32) if leaf.dtype.itemsize == 4 else leaf
        return jnp.sum(words.astype(jnp.uint32), dtype=jnp.uint32)

    return [checksum(leaf) for leaf in jax.tree.leaves(tree)]
