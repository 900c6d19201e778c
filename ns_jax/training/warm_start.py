"""A student that starts from trained weights instead of random ones (the paper's Table 15; fine-tuning)."""

import dataclasses

import jax
import jax.numpy as jnp

from ns_jax.models.base import Network
from ns_jax.parallel.mesh import parameter_path, place
from ns_jax.training.state import TrainState


def warm_start(network: Network, state: TrainState, variables: dict, keep_head: bool) -> TrainState:
    """Returns `state` with trained weights, batch norm's moments and both EMAs.

    Args:
      network: of the state.
      state: a fresh one.
      variables: {params, batch_stats} of single blocks, as an artifact holds them, NumPy arrays.
      keep_head: False keeps the state's own head, for other classes.
    """
    variables = network.to_module(variables)

    def start(path, fresh, trained):
        if not keep_head and network.architecture.is_head(parameter_path(path)):
            return fresh
        return place(fresh.sharding, trained)

    params = jax.tree_util.tree_map_with_path(start, state.params, variables["params"])
    batch_stats = jax.tree.map(
        lambda fresh, trained: place(fresh.sharding, trained), state.batch_stats, variables["batch_stats"]
    )
    copy = lambda tree: jax.tree.map(jnp.copy, tree)  # buffers of its own: the step gives each of them away
    return dataclasses.replace(
        state, params=params, batch_stats=batch_stats, ema_params=copy(params), ema_batch_stats=copy(batch_stats)
    )
