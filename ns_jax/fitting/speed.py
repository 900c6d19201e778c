"""How long a training step takes on this machine, and how much memory."""

import dataclasses
import time

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ns_jax.inference.predictor import make_predict
from ns_jax.models.base import build_network
from ns_jax.models.registry import get_architecture
from ns_jax.parallel.mesh import place_whole, to_global
from ns_jax.run.memory import program_bytes
from ns_jax.run.settings import prediction_options, test_view, train_view, unlabeled_batch_size
from ns_jax.run.training import make_training
from ns_jax.training.state import create_state

STEPS = 3  # timed, after one that is not


@dataclasses.dataclass(frozen=True)
class StepCost:
    """What a program costs.

    Attributes:
      seconds: of a step, the fastest of a few.
      num_bytes: of the state, the batch and the scratch memory.
    """

    seconds: float
    num_bytes: int


def training_cost(config: ConfigDict, num_classes: int, num_labeled: int, mesh: Mesh) -> StepCost:
    """Compiles and runs a few training steps of an iteration on black images."""
    training = make_training(config, num_classes, num_labeled, mesh)
    view = train_view(training.network.inputs, config.resolution, config.crop_padding)
    batch = {
        "image": np.zeros((config.labeled_batch_size, view.size, view.size, 3), np.uint8),
        "label": np.zeros(config.labeled_batch_size, np.int32),
    }
    if config.data.unlabeled:
        size = unlabeled_batch_size(config)
        batch["unlabeled_image"] = np.zeros((size, view.size, view.size, 3), np.uint8)
        batch["probs"] = np.full((size, num_classes), 1 / num_classes, np.float32)
    state = create_state(training.network, training.optimizer, config.seed, config.resolution, training.like)
    batch = to_global(mesh, batch)
    compiled = training.step.lower(state, batch).compile()
    seconds = []
    for _ in range(1 + STEPS):
        began = time.monotonic()
        state, metrics = compiled(state, batch)
        jax.block_until_ready(metrics)
        seconds.append(time.monotonic() - began)
    return StepCost(min(seconds[1:]), program_bytes(compiled))


def prediction_seconds(config: ConfigDict, num_classes: int, mesh: Mesh) -> float:
    """Seconds that labelling takes an image."""
    network = build_network(get_architecture(config.variant), num_classes, prediction_options(config, config.variant))
    view = test_view(network.inputs, config.test_resolution, config.crop_padding)
    batch = np.zeros((config.eval_batch_size, view.size, view.size, 3), np.float32)
    variables = place_whole(mesh, network.init(0, view.size))
    images, ids = to_global(mesh, (batch, np.zeros(len(batch), np.int32)))
    predict, seconds = make_predict(network, mesh), []
    for _ in range(1 + STEPS):
        began = time.monotonic()
        jax.block_until_ready(predict(variables, images, ids))
        seconds.append(time.monotonic() - began)
    return min(seconds[1:]) / len(batch)
