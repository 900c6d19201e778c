"""Classification between some classes, as ImageNet-A and -R are measured on their 200.

The official code (hendrycks/natural-adv-examples and hendrycks/imagenet-r, eval.py) cuts the logits to the 200 classes
before the argmax.
"""

import functools
import tomllib
from importlib import resources

import numpy as np

from ns_jax.data.sources.base import Source
from ns_jax.errors import UserError
from ns_jax.evaluators import classification
from ns_jax.inference.predictor import Predictor

IMAGENET = 1000  # classes


@functools.cache
def published_subsets() -> dict[str, tuple[int, ...]]:
    """{'imagenet_a': places among ImageNet's 1000 classes, 'imagenet_r': ...}."""
    text = (resources.files("ns_jax.evaluators") / "imagenet_subsets.toml").read_text(encoding="utf-8")
    return {name: tuple(places) for name, places in tomllib.loads(text).items()}


def evaluate(predictor: Predictor, source: Source, indices: np.ndarray, options) -> dict:
    """As `classification`, with a subset of the classes.

    Args:
      predictor: of the model.
      source: of images.
      indices: of its readable examples.
      options: `classes`: 'imagenet_a' or 'imagenet_r' for the published 200, or names; (): those that the source has.

    Returns:
      See `classification.evaluate`.

    Raises:
      UserError: the classes of the source do not say which are meant, the model is not one of ImageNet, or see
        `classification.evaluate`.
    """
    names = chosen_classes(tuple(options["classes"]), source, predictor.class_names)
    return classification.evaluate(predictor, source, indices, {"classes": names})


def chosen_classes(wanted: tuple[str, ...], source: Source, class_names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the classes between which a model with the classes `class_names` chooses."""
    if len(wanted) == 1 and wanted[0] in published_subsets():
        if len(class_names) != IMAGENET:
            raise UserError(
                f"classes={wanted[0]} is of ImageNet's {IMAGENET} classes, and the model has {len(class_names)}"
            )
        return tuple(class_names[place] for place in published_subsets()[wanted[0]])
    if wanted:
        return wanted
    labels = getattr(source, "labels", None)
    if labels is not None:
        counts = np.bincount(labels, minlength=len(source.class_names))
        return tuple(name for name, count in zip(source.class_names, counts, strict=True) if count)
    if len(source.class_names) == len(class_names):
        raise UserError(
            f"{source.name} has all {len(class_names)} classes of the model: name in `classes` those that count, as "
            "imagenet_a"
        )
    return tuple(source.class_names)
