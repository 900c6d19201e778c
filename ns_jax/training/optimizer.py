"""TensorFlow's RMSProp, and which parameters decay."""

import re

import jax
import jax.numpy as jnp
import optax


def make_optimizer(config, schedule) -> optax.GradientTransformation:
    """RMSProp with momentum as TensorFlow computes it: second moment from 1, epsilon in the root."""
    return optax.rmsprop(
        schedule,
        decay=config.rmsprop_decay,
        eps=config.rmsprop_epsilon,
        initial_scale=1.0,
        eps_in_sqrt=True,
        momentum=config.rmsprop_momentum,
    )


def is_frozen(path, frozen_blocks: int) -> bool:
    """Whether the parameter at this tree path is the stem's or of the first `frozen_blocks` blocks; none is at 0."""
    layer = str(path[0].key)
    block = re.match(r"blocks_(\d+)", layer)
    return frozen_blocks > 0 and (layer.startswith("stem") or block is not None and int(block[1]) < frozen_blocks)


def decays(path, frozen_blocks: int = 0) -> bool:
    """Whether the parameter at this tree path has weight decay: all but batch norm's and frozen ones."""
    return not any(str(key.key).endswith("bn") for key in path) and not is_frozen(path, frozen_blocks)


def l2_penalty(params, frozen_blocks: int = 0) -> jax.Array:
    """Half the sum of squares of the decaying parameters, float32 scalar."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return sum(0.5 * jnp.sum(jnp.square(leaf)) for path, leaf in leaves if decays(path, frozen_blocks))
