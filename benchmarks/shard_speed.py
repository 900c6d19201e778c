"""What it takes to read images from shards, and to open very many of them.

  python -m benchmarks.shard_speed [--images=600] [--shards=30000]

Reads the same JPEGs of 500 x 375 px from a folder, ArrayRecord, TFRecord, tar and Parquet with the train view at
224 px, in turns, in random order. Then opens an index of shards that claims 10,000 images in each: seconds, memory,
and the time of 224 ids.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import app, flags

from benchmarks.input_speed import write_jpegs
from ns_jax.report.results import markdown_table

FLAGS = flags.FLAGS
SHARDS = 6  # of the images that are read
PER_SHARD = 10_000  # images that the index claims
BATCH = 64
IDS = 224


def write_formats(folder: Path, images: int) -> dict[str, str]:
    """Writes the same images in every format; {format: source string}."""
    from tests.data.shards import write

    files = folder / "files"
    files.mkdir()
    write_jpegs(files, images)
    contents = [path.read_bytes() for path in sorted(files.iterdir())]
    sources = {"folder": f"folder:{files}"}
    for kind in ("arrayrecord", "tfrecord", "wds", "parquet"):
        (folder / kind).mkdir()
        for number, part in enumerate(np.array_split(np.arange(images), SHARDS)):
            path, some = folder / kind / f"{number}", [contents[index] for index in part]
            if kind == "wds":
                write.tar(path, {f"{index:06d}.jpg": content for index, content in enumerate(some)})
            elif kind == "parquet":
                write.parquet(path, some, rows=50)
            else:
                write_records = write.array_record if kind == "arrayrecord" else write.tfrecord
                write_records(path, [write.example(image=content) for content in some])
        sources[kind] = f"{kind}:{folder / kind}/[0-9]"
    return sources


def images_per_second(name: str, steps: int) -> tuple[float, float]:
    """Training images a second, and a second of the processor, from a source."""
    from ns_jax.data.ops.registry import Augmentation
    from ns_jax.data.pipeline import train_batches
    from ns_jax.data.sources.registry import open_source
    from ns_jax.data.views import View

    source = open_source(name)
    batches = train_batches(
        source,
        np.arange(source.count),
        augmentation=Augmentation(("random_area", "flip")),
        view=View(224, 32, "bicubic"),
        seed=0,
        stream="labeled",
        batch_size=BATCH,
        rows=slice(0, BATCH),
        start_step=0,
        num_steps=steps + 3,
    )
    for _ in range(3):
        next(batches)
    wall, processor = time.perf_counter(), time.process_time()
    count = sum(len(batch["label"]) for batch in batches)
    return count / (time.perf_counter() - wall), count / (time.process_time() - processor)


def speed_table(images: int, rounds: int, steps: int) -> str:
    """Images a second of every format."""
    with tempfile.TemporaryDirectory() as folder:
        sources = write_formats(Path(folder), images)
        results: dict[str, list] = {kind: [] for kind in sources}
        for _ in range(rounds):
            for kind, name in sources.items():
                results[kind].append(images_per_second(name, steps))
    base = statistics.median(processor for _, processor in results["folder"])
    rows = []
    for kind, values in results.items():
        wall, processor = (statistics.median(column) for column in zip(*values, strict=True))
        rows.append([kind, f"{wall:.0f}", f"{processor:.0f}", f"{100 * processor / base:.0f} %"])
    return markdown_table(["source", "images/s", "images per second of CPU", "of folder:"], rows)


def claim(folder: Path, shards: int) -> str:
    """Writes empty files and an index that claims images in them; a source string."""
    from ns_jax.data.shards.formats import ArrayRecord, Scan
    from ns_jax.data.sources.registry import open_source
    from tests.data.shards import write

    for number in range(shards):
        (folder / f"images-{number:05d}-of-{shards:05d}.array_record").touch()
    record = write.example(image=b"")
    ArrayRecord.scan = lambda self, source, shard: Scan(PER_SHARD, None, record)
    name = f"arrayrecord:{folder}/images-*"
    assert open_source(name).count == shards * PER_SHARD
    return name


def open_table(shards: int) -> str:
    """What a fresh process needs to open the shards."""
    with tempfile.TemporaryDirectory() as folder:
        name = claim(Path(folder), shards)
        command = [sys.executable, "-m", "benchmarks.shard_speed", f"--open={name}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
    row = done.stdout.strip().splitlines()[-1].split()
    return markdown_table(["images", "shards", "seconds to open", "MB more", f"ms for {IDS} ids"], [row])


def print_opening(name: str) -> None:
    """Prints a row of `open_table`."""
    import tensorflow as tf

    from ns_jax.data.sources.base import identity_of
    from ns_jax.data.sources.registry import open_source

    tf.constant(0)
    open_source("mnist5k:test")  # modules and their memory
    before, start = _resident(), time.perf_counter()
    source = open_source(name, labels=False)
    identity_of(source)
    seconds, memory = time.perf_counter() - start, _resident() - before
    indices = np.random.default_rng(0).integers(0, source.count, IDS)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        source.ids(indices)
        times.append(time.perf_counter() - start)
    shards = source.count // PER_SHARD
    print(source.count, shards, f"{seconds:.2f}", f"{memory / 1e6:.0f}", f"{1e3 * statistics.median(times):.2f}")


def _resident() -> int:
    """Bytes of memory that this process has."""
    import psutil

    return psutil.Process().memory_info().rss


def main(argv) -> None:
    del argv
    if FLAGS.open:
        print_opening(FLAGS.open)
        return
    print(speed_table(FLAGS.images, FLAGS.rounds, FLAGS.steps), flush=True)
    print(open_table(FLAGS.shards), flush=True)


if __name__ == "__main__":
    flags.DEFINE_integer("images", 600, "Number of JPEGs.", lower_bound=SHARDS)
    flags.DEFINE_integer("rounds", 3, "Turns of each format.", lower_bound=1)
    flags.DEFINE_integer("steps", 20, f"Batches of {BATCH} of a turn.", lower_bound=1)
    flags.DEFINE_integer("shards", 30_000, f"Shards of {PER_SHARD} images that are opened.", lower_bound=1)
    flags.DEFINE_string("open", "", "Only print what opening this source takes.")
    app.run(main)
