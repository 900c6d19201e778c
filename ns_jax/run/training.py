"""The training that a config describes, before anything of it is on a device."""

from collections.abc import Callable
from typing import NamedTuple

import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ns_jax.models.base import Network, build_network
from ns_jax.models.registry import get_architecture
from ns_jax.run.settings import bn_groups, build_options, schedule_settings, step_settings
from ns_jax.training.depth import scale_by_depth
from ns_jax.training.optimizer import make_optimizer
from ns_jax.training.schedule import learning_rate_schedule, num_train_steps
from ns_jax.training.state import TrainState, abstract_state
from ns_jax.training.step import make_train_step


class Training(NamedTuple):
    """A network and what trains it.

    Attributes:
      network: of the student.
      optimizer: its optax transformation.
      like: shapes, dtypes and shardings of the state.
      step: see `make_train_step`.
      num_steps: of the whole training.
    """

    network: Network
    optimizer: optax.GradientTransformation
    like: TrainState
    step: Callable
    num_steps: int


def make_training(
    config: ConfigDict, num_classes: int, num_labeled: int, mesh: Mesh, teacher: Network | None = None
) -> Training:
    """The training of `num_labeled` labeled images of `num_classes` classes.

    Args:
      config: of an iteration.
      num_classes: length of the logits.
      num_labeled: labeled images, an epoch.
      mesh: the devices.
      teacher: an online one.

    Raises:
      UserError: the devices cannot be grouped for batch norm, or the model cannot do what the config asks for.
    """
    options = build_options(config, bn_groups(config, mesh))
    network = build_network(get_architecture(config.variant), num_classes, options)
    settings = schedule_settings(config)
    schedule = learning_rate_schedule(settings, num_labeled)
    optimizer = make_optimizer(schedule, config.rmsprop_decay, config.rmsprop_momentum, config.rmsprop_epsilon)
    if config.layer_decay < 1 or config.head_epochs:
        head_steps = round(config.head_epochs * num_labeled / settings.counted_batch_size)
        optimizer = optax.chain(optimizer, scale_by_depth(network.architecture, config.layer_decay, head_steps))
    like = abstract_state(network, optimizer, config.resolution, mesh)
    step = make_train_step(network, optimizer, schedule, like, step_settings(config), teacher)
    return Training(network, optimizer, like, step, num_train_steps(settings, num_labeled))
