"""A data source of one's own: points on two rings, as vectors of two numbers."""

import numpy as np
import tensorflow as tf

from ns_jax.data.sources.base import Source
from ns_jax.errors import UserError

SPLITS = {"labeled": (0, 64), "unlabeled": (64, 448), "test": (448, 640)}


def open_rings(split: str, data_dir: str) -> Source:
    """The points of a split. Named in a config as 'tests.extending.own_source:open_rings:SPLIT'.

    Raises:
      UserError: there is no such split.
    """
    del data_dir
    if split not in SPLITS:
        raise UserError(f"rings has the splits {', '.join(SPLITS)}, not {split!r}")
    start, stop = SPLITS[split]
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 640)
    angle, radius = random.uniform(0, 2 * np.pi, 640), 1.0 + labels + random.normal(0, 0.1, 640)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32)
    vectors = tf.constant(points[start:stop])
    targets = tf.constant(labels[start:stop], tf.int32)

    def load(index, window=None):
        return vectors[index], targets[index]

    def ids(indices):
        return np.char.mod(b"point/%03d", np.asarray(indices) + start)

    return Source(f"rings:{split}", stop - start, ("inner", "outer"), load, ids)
