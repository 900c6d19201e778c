"""Everything that a training step changes."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from ns_jax.models.efficientnet.stacking import loops_of, stacked_for
from ns_jax.parallel.mesh import state_shardings


@flax.struct.dataclass
class TrainState:
    """step: int32 scalar, updates done. The rest are trees of float32 arrays in plain dicts.

    `ema_params` and `ema_batch_stats` are what evaluation, the next iteration and export read.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    ema_params: Any
    ema_batch_stats: Any


def model_variables(model, seed: int, resolution: int) -> dict:
    """Fresh {params, batch_stats} of a linen model for images of `resolution` pixels.

    Blocks that the model runs as a loop have the weights that they have without it.
    """
    image = jnp.zeros((1, resolution, resolution, 3), jnp.float32)
    single = model.clone(scan_blocks=False) if loops_of(model) else model
    return stacked_for(model, single.init(jax.random.key(seed), image))


def _creator(model, optimizer, seed: int, resolution: int):
    def create():
        variables = model_variables(model, seed, resolution)
        params, batch_stats = variables["params"], variables["batch_stats"]
        return TrainState(jnp.zeros((), jnp.int32), params, batch_stats, optimizer.init(params), params, batch_stats)

    return create


def abstract_state(model, optimizer, resolution: int, mesh) -> TrainState:
    """Shapes, dtypes and shardings of `create_state`'s result."""
    shapes = jax.eval_shape(_creator(model, optimizer, 0, resolution))
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        state_shardings(mesh, shapes),
    )


def create_state(model, optimizer, seed: int, resolution: int, mesh) -> TrainState:
    """A fresh state on the mesh; nothing large is made on a single device first."""
    create = _creator(model, optimizer, seed, resolution)
    # Run once, the program takes the CPU's compiler as long as the training step. The same bits, in half the time.
    quick = {"xla_backend_optimization_level": 1} if mesh.devices.flat[0].platform == "cpu" else None
    return jax.jit(create, out_shardings=state_shardings(mesh, jax.eval_shape(create)), compiler_options=quick)()


def tree_checksums(tree) -> list:
    """Per leaf, the wrapping uint32 sum of its bits: the same on any layout, changed by any flip."""

    def checksum(leaf):
        words = jax.lax.bitcast_convert_type(leaf, jnp.uint32) if leaf.dtype.itemsize == 4 else leaf
        return jnp.sum(words.astype(jnp.uint32), dtype=jnp.uint32)

    return [checksum(leaf) for leaf in jax.tree.leaves(tree)]
