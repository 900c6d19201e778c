"""This project's training input from a folder of JPEGs."""

import sys
import time
from collections.abc import Callable

import numpy as np

from benchmarks.contest import serve
from ns_jax.data.ops.registry import Augmentation, RandAugmentSettings
from ns_jax.data.pipeline import train_batches
from ns_jax.data.sources.registry import open_source
from ns_jax.data.views import View

BATCH_SIZE = 32
PREFETCHED = 5  # batches that may lie ready, made during the others' turns
COUNTED = 16
# The recipe of the students of B2 to L2.
AUGMENTATION = Augmentation(("random_area", "flip", "randaugment"), RandAugmentSettings(num_ops=2, magnitude=27.0))


def make_work(folder: str, batch_size: int = BATCH_SIZE, counted: int = COUNTED) -> Callable[[], float]:
    """Returns a function that reads batches and gives the seconds for as many images as the folder holds.

    Args:
      folder: of JPEGs.
      batch_size: images in a batch.
      counted: batches that are timed.
    """
    source = open_source(f"folder:{folder}")
    batches = train_batches(
        source,
        np.arange(source.count),
        augmentation=AUGMENTATION,
        view=View(224, 32),
        seed=0,
        stream="benchmark",
        batch_size=batch_size,
        rows=slice(0, batch_size),
        start_step=0,
        num_steps=1_000_000,
    )

    def read() -> float:
        for _ in range(PREFETCHED):
            next(batches)
        start = time.perf_counter()
        for _ in range(counted):
            next(batches)
        return (time.perf_counter() - start) * source.count / (counted * batch_size)

    return read


if __name__ == "__main__":
    serve(make_work(sys.argv[1]), times_itself=True)
