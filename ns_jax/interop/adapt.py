"""Another resolution, other classes, a fresh classifier: changes to a model that was read."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from ns_jax.artifact.weights import Artifact, default_class_names
from ns_jax.errors import UserError
from ns_jax.models.registry import create_model
from ns_jax.models.variants import get_variant


def fresh_classifier(artifact: Artifact, class_names: Sequence[str], seed: int = 0) -> Artifact:
    """The same model with a newly initialised classifier for other classes."""
    params = artifact.variables["params"]
    features = params["classifier"]["kernel"].shape[0]
    model = create_model(get_variant(artifact.card["variant"]), len(class_names))
    kernel = np.asarray(model.classifier_init(jax.random.key(seed), (features, len(class_names))))
    classifier = {"kernel": kernel, "bias": np.zeros(len(class_names), np.float32)}
    variables = artifact.variables | {"params": params | {"classifier": classifier}}
    return dataclasses.replace(artifact, variables=variables, card=artifact.card | {"class_names": list(class_names)})


def adapt(
    artifact: Artifact,
    resolution: int | None = None,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    seed: int = 0,
) -> Artifact:
    """A model with what is not None changed; see `ns_jax.load`.

    Raises:
      UserError: as many names as classes are needed, and at least one class and one pixel.
    """
    for name, value in {"resolution": resolution, "num_classes": num_classes}.items():
        if value is not None and value < 1:
            raise UserError(f"{name}={value} must be at least 1")
    count = len(artifact.card["class_names"]) if num_classes is None else num_classes
    if class_names is not None and len(class_names) != count:
        raise UserError(f"{len(class_names)} class names for {count} classes")
    if count != len(artifact.card["class_names"]):
        artifact = fresh_classifier(artifact, class_names or default_class_names(count), seed)
    changes = {"resolution": resolution, "class_names": class_names and list(class_names)}
    card = artifact.card | {key: value for key, value in changes.items() if value is not None}
    return dataclasses.replace(artifact, card=card)
