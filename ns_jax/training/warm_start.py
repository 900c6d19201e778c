"""A student that starts from trained weights instead of random ones (the paper's Table 15; fine-tuning)."""

import dataclasses

import jax
import jax.numpy as jnp

from ns_jax.inference.model import read
from ns_jax.interop.foreign import check_artifact
from ns_jax.models.efficientnet.stacking import stacked_for
from ns_jax.parallel.mesh import state_shardings
from ns_jax.run.iteration import Iteration
from ns_jax.training.state import TrainState


def warm_start(iteration: Iteration, model, state: TrainState, class_names: list[str]) -> TrainState:
    """`state` with weights, batch norm's moments and both EMAs from `config.init_from`; as it is where that is empty.

    The classifier stays that of `state` where the classes are others.

    Raises:
      UserError: there is no such model, or it is of another variant than the config's.
    """
    config = iteration.config
    if not config.init_from:
        return state
    where = iteration.teacher if config.init_from == "teacher" else config.init_from
    artifact = read(where, config.variant)
    check_artifact(artifact)
    kept = list(artifact.card["class_names"]) == class_names
    params = artifact.variables["params"] | ({} if kept else {"classifier": state.params["classifier"]})
    iteration.say("train", f"starts from {where}" + ("" if kept else ", with a new classifier for other classes"))
    variables = stacked_for(model, artifact.variables | {"params": params})
    variables = jax.device_put(variables, state_shardings(iteration.mesh, variables))
    average = jax.tree.map(jnp.copy, variables)  # buffers of its own: the step gives each of them away
    return dataclasses.replace(
        state,
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        ema_params=average["params"],
        ema_batch_stats=average["batch_stats"],
    )
