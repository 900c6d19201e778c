"""TensorFlow's RMSProp, and the weight decay that is part of the loss."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from ns_jax.models.base import Architecture
from ns_jax.parallel.mesh import parameter_path


def make_optimizer(schedule: Callable, decay: float, momentum: float, epsilon: float) -> optax.GradientTransformation:
    """RMSProp with momentum as TensorFlow computes it: second moment from 1, epsilon in the root.

    Args:
      schedule: step to learning rate.
      decay: of the second moment.
      momentum: of the update.
      epsilon: added to the second moment.
    """
    return optax.rmsprop(schedule, decay=decay, eps=epsilon, initial_scale=1.0, eps_in_sqrt=True, momentum=momentum)


def decay_mask(architecture: Architecture, params, frozen_blocks: int = 0):
    """Tree of bools over `params`: whether each has weight decay, which frozen ones have not."""

    def decays(path, _):
        path = parameter_path(path)
        return architecture.decays(path) and not architecture.is_frozen(path, frozen_blocks)

    return jax.tree_util.tree_map_with_path(decays, params)


def l2_penalty(params, mask) -> jax.Array:
    """Half the sum of squares of the parameters that `mask` marks, float32 scalar (official code)."""
    pairs = zip(jax.tree.leaves(params), jax.tree.leaves(mask), strict=True)
    terms = [0.5 * jnp.sum(jnp.square(leaf)) for leaf, decays in pairs if decays]
    return sum(terms, start=jnp.zeros((), jnp.float32))
