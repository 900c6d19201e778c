"""Another resolution, other classes, a fresh head: changes to a model that was read."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from ns_jax.artifact.class_names import default_class_names
from ns_jax.artifact.metadata import MAX_CLASSES, check_fields, is_of_arrays, network_of
from ns_jax.artifact.weights import Artifact
from ns_jax.errors import UserError


def fresh_classifier(artifact: Artifact, class_names: Sequence[str], seed: int = 0) -> Artifact:
    """The same model with a newly initialised head for other classes. The given artifact stays as it is."""
    metadata = artifact.metadata | {"class_names": list(class_names)}
    network = network_of(metadata)
    is_head = network.architecture.is_head

    def fresh_head() -> dict:
        params = flatten_dict(network.init(seed)["params"])
        return {path: value for path, value in params.items() if is_head(path)}

    head = jax.jit(fresh_head)()  # the compiler drops what only the rest of the network needs
    kept = {path: value for path, value in flatten_dict(artifact.variables["params"]).items() if not is_head(path)}
    params = unflatten_dict(kept | {path: np.asarray(value) for path, value in head.items()})
    return dataclasses.replace(artifact, variables={**artifact.variables, "params": params}, metadata=metadata)


def adapt(
    artifact: Artifact,
    resolution: int | None = None,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    seed: int = 0,
) -> Artifact:
    """A model with what is not None changed; see `ns_jax.load`.

    Raises:
      UserError: as many names as classes are needed, all different, and at least one class and one pixel.
    """
    for name, value in {"resolution": resolution, "num_classes": num_classes}.items():
        if value is not None and value < 1:
            raise UserError(f"{name}={value} must be at least 1")
    if num_classes is not None and num_classes > MAX_CLASSES:
        raise UserError(f"num_classes={num_classes} must be at most {MAX_CLASSES}")
    if resolution is not None and is_of_arrays(artifact.metadata):
        raise UserError(f"resolution={resolution}: {artifact.folder} is a model of arrays, not of images")
    count = len(artifact.metadata["class_names"]) if num_classes is None else num_classes
    if class_names is not None and len(class_names) != count:
        raise UserError(f"{len(class_names)} class names for {count} classes")
    changes = {"resolution": resolution, "class_names": None if class_names is None else list(class_names)}
    changes = check_fields({key: value for key, value in changes.items() if value is not None}, "the model asked for")
    if count != len(artifact.metadata["class_names"]):
        artifact = fresh_classifier(artifact, class_names or default_class_names(count), seed)
    return dataclasses.replace(artifact, metadata=artifact.metadata | changes)
