"""This project's training input from a folder of JPEGs."""

import sys
import time

import numpy as np

from benchmarks.contest import serve
from ns_jax.configs.common import get_config
from ns_jax.data.pipeline import View, train_batches
from ns_jax.data.sources import open_source

BATCH = 32
PREFETCHED = 5  # batches that may lie ready, made during the others' turns
COUNTED = 16


def main(folder: str) -> None:
    source = open_source(f"folder:{folder}")
    batches = train_batches(
        source,
        np.arange(source.count),
        get_config(),
        View(224, 32),
        stream="benchmark",
        batch_size=BATCH,
        rows=slice(0, BATCH),
        start_step=0,
        num_steps=1_000_000,
    )

    def work() -> float:
        """Seconds for as many images as the folder holds."""
        for _ in range(PREFETCHED):
            next(batches)
        start = time.perf_counter()
        for _ in range(COUNTED):
            next(batches)
        return (time.perf_counter() - start) * source.count / (COUNTED * BATCH)

    serve(work, times_itself=True)


if __name__ == "__main__":
    main(sys.argv[1])
