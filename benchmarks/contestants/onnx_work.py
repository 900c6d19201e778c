"""A batch of inference by a runtime of ONNX programs."""

from collections.abc import Callable

import jax
import numpy as np
import scipy.special
from etils import epath

from benchmarks.contestants.task import Task
from ns_jax.artifact.metadata import model_metadata
from ns_jax.artifact.weights import Artifact
from ns_jax.interop.onnx_model.engines import ENGINES
from ns_jax.interop.onnx_model.program import to_onnx
from ns_jax.models.base import build_network
from ns_jax.models.registry import get_architecture


def make_work(task: Task, engine: str) -> Callable[[], np.ndarray]:
    """Returns a function that predicts one batch and gives the probabilities, [N, classes]."""
    if task.mode != "inference":
        raise ValueError(f"{engine} does not train")
    architecture = get_architecture(task.variant)
    network = build_network(architecture, task.num_classes)
    variables = jax.tree.map(np.asarray, jax.jit(lambda: network.init(0, task.resolution))())
    artifact = Artifact(variables, model_metadata(architecture, task.num_classes), epath.Path("random"))
    program = to_onnx(artifact, task.resolution, np.float32)
    run = ENGINES[engine](program, task.threads, task.form or "float32")
    shape = (task.batch_size, *network.inputs.example_shape(task.resolution))
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)
    return lambda: scipy.special.softmax(run(images), axis=-1)
