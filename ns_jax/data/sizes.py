"""How large the images of a source are."""

import numpy as np
import tensorflow as tf

from ns_jax.data.pipeline import parallel_map
from ns_jax.data.sources.base import Source
from ns_jax.errors import UserError

SAMPLED = 200  # images that are looked at


def shorter_sides(source: Source, indices: np.ndarray) -> np.ndarray:
    """Shorter sides of up to SAMPLED images evenly among `indices`, int32 pixels.

    Raises:
      UserError: there are no images, or what the source holds are arrays.
    """
    if not len(indices):
        raise UserError(f"{source.name} holds no image that can be read")
    sampled = indices[np.linspace(0, len(indices) - 1, min(SAMPLED, len(indices))).astype(int)]
    dataset = tf.data.Dataset.from_tensor_slices(sampled.astype(np.int64))
    shapes = list(parallel_map(dataset, lambda index: tf.shape(source.load(index)[0])).as_numpy_iterator())
    if len(shapes[0]) != 3:
        raise UserError(f"{source.name} holds arrays of shape {list(shapes[0])}, not images")
    return np.array([min(shape[:2]) for shape in shapes], np.int32)
