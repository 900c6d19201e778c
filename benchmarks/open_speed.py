"""What a host needs to open 300 million images in shards, join their pseudo-labels and begin to train.

  python -m benchmarks.open_speed [--shards=30000] [--classes=1000]

The shards of images are empty files with an index that claims 10,000 images in each; reading one gives a made JPEG. The
label store and the selection have all their files, most of them links to a few. A fresh process opens the source,
joins, and makes the first batch of 224 images in either order: seconds, and memory beyond that of its modules.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags
from etils import epath

from benchmarks.shard_speed import PER_SHARD, claim
from ns_jax.report.results import markdown_table

FLAGS = flags.FLAGS
DIFFERENT = 8  # files of which the others are links
ROWS = 224  # of a batch, of a host
HOSTS = 256


def write_labels(folder: Path, source: Any, classes: int) -> None:
    """Writes pseudo-labels and a selection of 27 % of the images, some of them several times."""
    from ns_jax.data.sources.base import identity_of
    from ns_jax.pseudo_labels.store import LabelStore, Selection, Writing, shard_ranges

    ranges, generator = shard_ranges(source.count, PER_SHARD), np.random.default_rng(0)
    store = LabelStore(epath.Path(folder) / "labels", Writing(ranges, source.ids, keeps_ids=False))
    selection = Selection(epath.Path(folder) / "selection")
    for shard, (start, stop) in enumerate(ranges):
        if shard < DIFFERENT:
            logits = generator.normal(size=(stop - start, classes), scale=3).astype(np.float32)
            probs = np.exp(logits - logits.max(1, keepdims=True))
            store.write_labels(shard, source.ids(np.arange(start, stop)), probs / probs.sum(1, keepdims=True))
            copies = generator.geometric(0.7, stop - start) * (generator.random(stop - start) < 0.27)
            copies[generator.integers(0, stop - start, 3)] = 500  # of a small class
            selection.write_copies(shard, copies.astype(np.uint16))
        else:
            for path in (store.shard_path, store.probabilities_path, selection.shard_path):
                os.link(path(shard % DIFFERENT), path(shard))
    common = {"ranges": [list(bounds) for bounds in ranges], "class_names": [f"{number}" for number in range(classes)]}
    store.write_manifest(common | {"source_identity": identity_of(source)})
    selection.write_manifest(common)


def made_records() -> None:
    """Makes shards readable that have no records: each is a JPEG of 500 x 375 px."""
    import io

    from PIL import Image

    from ns_jax.data.shards.formats import ArrayRecord
    from tests.data.shards import write

    buffer = io.BytesIO()
    Image.effect_noise((500, 375), 60).convert("RGB").save(buffer, "JPEG", quality=80)
    record = write.example(image=buffer.getvalue())
    ArrayRecord.open_shard = lambda self, shard, in_sequence=False: None
    ArrayRecord.read = lambda self, opened, rows, positions: ([record] * len(positions), None)


class Memory:
    """The most bytes of its own that this process has had in memory since this was made; mapped files are not."""

    def __init__(self):
        self.most = self._before = self._now()
        threading.Thread(target=self._watch, daemon=True).start()

    @staticmethod
    def _now() -> int:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.partition("RssAnon:")[2].split()[0])

    def _watch(self) -> None:
        while True:
            self.most = max(self.most, self._now())
            time.sleep(0.02)

    def __call__(self) -> int:
        self.most = max(self.most, self._now())
        return self.most - self._before


def print_opening(folder: str, name: str) -> None:
    """Prints, of each step, its name, its seconds, those of CPU, and the most MB so far beyond those of the modules."""
    import tensorflow as tf

    from ns_jax.data.ops.registry import Augmentation
    from ns_jax.data.order import stream_order
    from ns_jax.data.pipeline import Probabilities, readable_examples, stream_seed, train_batches
    from ns_jax.data.sources.base import identity_of
    from ns_jax.data.sources.registry import open_source
    from ns_jax.data.views import View
    from ns_jax.pseudo_labels.store import LabelStore, Selection
    from ns_jax.pseudo_labels.table import TrainingTable

    made_records()
    tf.constant(0)
    next(iter(tf.data.Dataset.range(1).map(lambda x: x + 1)))
    open_source("mnist5k:test")
    memory = Memory()

    def step(title: str, do: Callable[[], Any]) -> Any:
        begin, processor = time.perf_counter(), time.process_time()
        result = do()
        seconds, processor = time.perf_counter() - begin, time.process_time() - processor
        print(f"{title}|{seconds:.2f}|{processor:.2f}|{memory() / 1e6:.0f}", flush=True)
        return result

    source = step("open", lambda: open_source(name, labels=False))
    step("which images can be used", lambda: readable_examples(source, 0.0, folder))
    store, selection = (
        kind(epath.Path(folder) / name) for kind, name in ((LabelStore, "labels"), (Selection, "selection"))
    )
    table = step("join", lambda: TrainingTable(store, selection, source.ids, identity_of(source)))

    def first_batch(kind: str) -> None:
        order = stream_order(kind, table.copies, source, HOSTS * ROWS, stream_seed(0, "unlabeled"))
        batches = train_batches(
            source,
            table.copies,
            augmentation=Augmentation(("random_area", "flip")),
            view=View(224, 32, "bicubic"),
            seed=0,
            stream="unlabeled",
            batch_size=HOSTS * ROWS,
            rows=slice(5 * ROWS, 6 * ROWS),
            start_step=100,
            num_steps=101,
            probabilities=Probabilities(table.probabilities, table.num_classes),
            order=order,
        )
        assert next(batches)["probs"].shape == (ROWS, table.num_classes)

    for kind in ("global", "lanes"):
        step(f"first batch, {kind}", lambda kind=kind: first_batch(kind))
    generator, looking_up, reading = np.random.default_rng(0), [], []
    for _ in range(50):
        positions = generator.integers(0, len(table.copies), ROWS)
        begin = time.process_time()
        images = table.copies[positions]
        looking_up.append(time.process_time() - begin)
        begin = time.process_time()
        table.probabilities(images)
        reading.append(time.process_time() - begin)
    milliseconds = (1e3 * statistics.median(times) for times in (looking_up, reading))
    print(source.count, len(table.copies), *(f"{value:.2f}" for value in milliseconds))


def prepare(folder: Path, shards: int, classes: int) -> str:
    """Writes everything that is opened; the source string."""
    from ns_jax.data.sources.registry import open_source

    (folder / "images").mkdir()
    name = claim(folder / "images", shards)
    write_labels(folder, open_source(name, labels=False), classes)
    return f"{name}:checked=yes"  # as ns_jax.pack says of them


def define_flags() -> None:
    flags.DEFINE_integer("shards", 30_000, f"Shards of {PER_SHARD:,} images.", lower_bound=1)
    flags.DEFINE_integer("classes", 1000, "Number of classes.", lower_bound=1)
    flags.DEFINE_string("open", "", "Only print what opening the images in --source takes, with the labels here.")
    flags.DEFINE_string("source", "", "See --open.")


def main(argv) -> None:
    del argv
    if FLAGS.open:
        print_opening(FLAGS.open, FLAGS.source)
        return
    with tempfile.TemporaryDirectory() as folder:
        name = prepare(Path(folder), FLAGS.shards, FLAGS.classes)
        command = [sys.executable, "-m", "benchmarks.open_speed", f"--open={folder}", f"--source={name}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    *steps, last = done.stdout.strip().splitlines()
    images, copies, looking_up, reading = last.split()
    title = f"{int(images):,} images, {int(copies):,} copies"
    print(markdown_table([title, "seconds", "of CPU", "MB"], [line.split("|") for line in steps]))
    print(f"CPU time of {ROWS} look-ups: {looking_up} ms; of the probabilities of {ROWS} random images: {reading} ms")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    define_flags()
    app.run(main)
