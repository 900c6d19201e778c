"""How often labeled images are drawn, where classes or images are not to count alike."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ns_jax.data.pipeline import arrays_of, map_examples
from ns_jax.data.sources.base import Source
from ns_jax.errors import UserError

MAX_REPEATS = 100  # of an image of a small class, for each draw of one of the largest
WEIGHT_STEPS = 10  # an image of the largest weight is drawn so often, others in proportion


def labels_of(source: Source, indices: np.ndarray) -> np.ndarray:
    """Labels of some examples, int32 [M]; they are read from the examples where the source does not list them."""
    known = getattr(source, "labels", None)
    if known is not None:
        return np.asarray(known, np.int32)[indices]
    dataset = tf.data.Dataset.from_tensor_slices(np.asarray(indices, np.int64))
    labels = map_examples(dataset, source, lambda index: {"index": index}, lambda _, load: load()[1])
    return np.fromiter(arrays_of(labels), np.int32, len(indices))


def training_draws(source: Source, indices: np.ndarray, class_sampling: str = "natural") -> np.ndarray:
    """The examples of a training stream, each as often as it is to be drawn.

    Args:
      source: of the labeled images; its weights count where it has them.
      indices: int64 [M], of the images that are used.
      class_sampling: 'natural': as the images are; 'balanced': each class is drawn as often as the largest, its images
        equally often to within one; an image of a small class at most MAX_REPEATS times as often.

    Returns:
      int64, ascending, for `train_batches`; `indices` themselves where all count alike.

    Raises:
      UserError: every weight is 0.
    """
    weights = getattr(source, "weights", None)
    if weights is not None:
        indices = _by_weight(source.name, indices, np.asarray(weights)[indices])
    if class_sampling == "natural":
        return indices
    labels = labels_of(source, indices)
    counts = np.bincount(labels, minlength=source.num_classes)
    of_each_class = []
    for label, count in enumerate(counts):
        wanted = min(counts.max(), MAX_REPEATS * count)
        of_each_class.append(np.resize(indices[labels == label], wanted))
    return np.sort(np.concatenate(of_each_class))


def _by_weight(name: str, indices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Repeats indices in proportion to their weights, the largest WEIGHT_STEPS times."""
    if not weights.max() > 0:
        raise UserError(f"{name}: every weight is 0, so that no image would be drawn")
    return np.repeat(indices, np.rint(WEIGHT_STEPS * weights / weights.max()).astype(np.int64))


def class_prior(labels: np.ndarray, num_classes: int) -> tuple[float, ...]:
    """Share of each class among labels, int [M]; one that is not there counts as if it were there once."""
    counts = np.maximum(np.bincount(labels, minlength=num_classes), 1)
    return tuple((counts / counts.sum()).tolist())


def describe_draws(num_images: int, class_names: Sequence[str], labels: np.ndarray) -> str:
    """One line about draws that are not the images themselves: shares of the first classes, of the draws' labels."""
    shares = 100 * np.bincount(labels, minlength=len(class_names)) / len(labels)
    parts = [f"{name} {share:.0f} %" for name, share in list(zip(class_names, shares, strict=True))[:10]]
    more = ", ..." if len(class_names) > len(parts) else ""
    return f"draws of {num_images} labeled images: {', '.join(parts)}{more}"
