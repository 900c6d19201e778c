"""This project's own training step and prediction, as the stages run them."""

import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.contest import serve
from benchmarks.contestants.task import Task
from ns_jax.host_memory import restart_with_kept_memory
from ns_jax.inference.predictor import make_predict
from ns_jax.models.base import BuildOptions, Network, build_network
from ns_jax.models.folding import folded
from ns_jax.models.registry import get_architecture
from ns_jax.parallel.mesh import make_mesh, to_global
from ns_jax.training.optimizer import make_optimizer
from ns_jax.training.schedule import ScheduleSettings, learning_rate_schedule
from ns_jax.training.state import abstract_state, create_state
from ns_jax.training.step import StepSettings, make_train_step


def make_work(task: Task) -> Callable[[], object]:
    """Returns a function that trains one batch and gives the metrics, or predicts one and gives the probabilities."""
    dtype = jnp.dtype("bfloat16" if "bfloat16" in task.form else "float32")
    options = BuildOptions(dtype=dtype, stochastic_depth_rate=0.2)
    network = build_network(get_architecture(task.variant), task.num_classes, options)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (task.batch_size, *network.inputs.example_shape(task.resolution)), np.uint8)
    if task.mode == "inference":
        return _predict(network, task, images)
    return _train(network, task, images, rng.integers(0, task.num_classes, task.batch_size, np.int32))


def _predict(network: Network, task: Task, images: np.ndarray) -> Callable[[], np.ndarray]:
    mesh = make_mesh()
    variables = jax.jit(lambda: network.init(0, task.resolution))()
    if "folded" in task.form:
        network, variables = folded(network, variables)
        variables = jax.device_put(variables)
    predict = make_predict(network, mesh)
    batch = (images.astype(np.float32), np.arange(task.batch_size, dtype=np.int32))
    return lambda: np.asarray(predict(variables, *to_global(mesh, batch)))


def _train(network: Network, task: Task, images: np.ndarray, labels: np.ndarray) -> Callable[[], dict]:
    mesh = make_mesh()
    settings = ScheduleSettings(
        base_learning_rate=0.016,
        warmup_epochs=5.0,
        decay_epochs=2.4,
        decay_rate=0.97,
        train_epochs=350.0,
        labeled_batch_size=task.batch_size,
    )
    schedule = learning_rate_schedule(settings, 100 * task.batch_size)
    optimizer = make_optimizer(schedule, decay=0.9, momentum=0.9, epsilon=1e-3)
    like = abstract_state(network, optimizer, task.resolution, mesh)
    step = make_train_step(network, optimizer, schedule, like, StepSettings(weight_decay=1e-5))
    state = create_state(network, optimizer, 0, task.resolution, like)
    batch = {"image": images, "label": labels}

    def train() -> dict:
        nonlocal state
        state, metrics = step(state, to_global(mesh, batch))
        jax.block_until_ready((state, metrics))
        return metrics

    return train


if __name__ == "__main__":
    restart_with_kept_memory()  # as ns_jax.main does
    serve(make_work(Task.from_text(sys.argv[1])))
