"""Smaller updates where a trained model is to stay what it is: its early layers, and all but its head at first."""

import jax
import jax.numpy as jnp
import optax

from ns_jax.models.base import Architecture, Path
from ns_jax.parallel.mesh import parameter_path


def depth(architecture: Architecture, path: Path) -> int:
    """1 for the stem and the first block, 2 for the second, ..., num_blocks + 1 for what comes after all blocks."""
    frozen_with = (n for n in range(1, architecture.num_blocks + 1) if architecture.is_frozen(path, n))
    return next(frozen_with, architecture.num_blocks + 1)


def scale_by_depth(architecture: Architecture, layer_decay: float, head_steps: int) -> optax.GradientTransformation:
    """Multiplies the updates of a parameter by layer_decay ** (blocks between it and the head).

    Args:
      architecture: whose parameters they are.
      layer_decay: 1: all layers learn alike.
      head_steps: in the first so many steps only the head is updated.
    """

    def init(params):
        return optax.ScaleByScheduleState(jnp.zeros((), jnp.int32))

    def update(updates, state, params=None):
        body = (state.count >= head_steps).astype(jnp.float32)

        def scaled(key_path, leaf):
            path = parameter_path(key_path)
            factor = layer_decay ** (architecture.num_blocks + 1 - depth(architecture, path))
            return leaf * jnp.float32(factor) * (jnp.float32(1) if architecture.is_head(path) else body)

        return jax.tree_util.tree_map_with_path(scaled, updates), optax.ScaleByScheduleState(state.count + 1)

    return optax.GradientTransformation(init, update)
