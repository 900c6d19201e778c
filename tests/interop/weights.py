"""Random weights, other ones in each tensor; written as others write them, and compared."""

import numpy as np
import safetensors.numpy
import tensorflow as tf
from etils import epath
from flax.traverse_util import flatten_dict, unflatten_dict

from ns_jax.artifact.metadata import model_metadata
from ns_jax.artifact.weights import Artifact
from ns_jax.interop.foreign import expected_shapes, to_foreign
from ns_jax.models.registry import get_architecture


def random_flat(name: str, num_classes: int = 1000, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    flat = {}
    for key, shape in expected_shapes(name, num_classes).items():
        if key.endswith(("scale", "var")):
            value = rng.uniform(0.5, 1.5, shape)
        elif key.endswith("kernel"):
            value = rng.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape)
        else:
            value = rng.normal(0, 0.1, shape)
        flat[key] = value.astype(np.float32)
    return flat


def random_artifact(name: str, num_classes: int = 1000, seed: int = 0) -> Artifact:
    variables = {"params": {}, "batch_stats": {}} | unflatten_dict(random_flat(name, num_classes, seed), sep="/")
    return Artifact(variables, model_metadata(get_architecture(name), num_classes), epath.Path("random"))


def assert_same(first, second):
    """Two artifacts have the same weights, bit for bit."""
    first, second = flatten_dict(first.variables, sep="/"), flatten_dict(second.variables, sep="/")
    assert first.keys() == second.keys()
    for key in first:
        np.testing.assert_array_equal(first[key], second[key], err_msg=key)


def write_tf(prefix, arrays: dict) -> None:
    """Writes {name: array} as a TensorFlow checkpoint."""
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(arrays),
        shape_and_slices=[""] * len(arrays),
        tensors=list(arrays.values()),
    )


def save_timm(path, artifact, **changes):
    """Writes an artifact with timm's names, and other tensors instead of some."""
    safetensors.numpy.save_file(to_foreign(artifact, "timm") | changes, path)
