"""This project's training input from a folder of JPEGs."""

import sys

import numpy as np

from benchmarks.contest import serve
from configs.common import get_config
from ns_jax.data.pipeline import View, train_batches
from ns_jax.data.sources import open_source

BATCH = 32
PER_TURN = 128


def main(folder: str) -> None:
    source = open_source(f"folder:{folder}")
    batches = train_batches(
        source, np.arange(source.count), get_config(), View(224, 32), stream="benchmark", batch_size=BATCH,
        rows=slice(0, BATCH), start_step=0, num_steps=1_000_000)  # fmt: skip

    def work() -> None:
        for _ in range(PER_TURN // BATCH):
            next(batches)

    serve(work)


if __name__ == "__main__":
    main(sys.argv[1])
