"""Random weights, other ones in each tensor."""

import numpy as np
from etils import epath
from flax.traverse_util import unflatten_dict

from ns_jax.artifact.metadata import model_metadata
from ns_jax.artifact.weights import Artifact
from ns_jax.interop.foreign import expected_shapes
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
