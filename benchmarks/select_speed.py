"""What it takes to select among very many pseudo-labels.

  python -m benchmarks.select_speed [--images=1000000,10000000] [--folder=/tmp/select] [--threads=2]

Makes the columns of synthetic pseudo-labels of 1,000 classes with a long tail, a fifth of them as sure as can be, in
shards of 10,000 (6 bytes an image; at 300,000,000 images 2 GB). Selects 43 % as many copies as there are images, as the
paper does of its 300M, and writes the selection. Each size runs in a process of its own: seconds of each pass, peak
memory. Of up to a million images all columns are made, and every rule is compared with one that has all images in
memory (the peak is then that of the comparison, too).
"""

import dataclasses
import functools
import hashlib
import io
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import app, flags
from etils import epath

from ns_jax.files import sync, write_bytes
from ns_jax.pseudo_labels.chunks import Chunk, check_shard, read_labels
from ns_jax.pseudo_labels.columns import pack
from ns_jax.pseudo_labels.draws import draw_by_index, draw_share
from ns_jax.pseudo_labels.progress import Progress
from ns_jax.pseudo_labels.rules import SelectionSettings, apply_rule
from ns_jax.pseudo_labels.scores import certainty_of
from ns_jax.pseudo_labels.selecting import write_copies, write_samples
from ns_jax.pseudo_labels.store import LabelStore, Selection, shard_ranges
from ns_jax.pseudo_labels.survey import survey
from ns_jax.report.results import markdown_table
from tests.pseudo_labels import reference

FLAGS = flags.FLAGS
CLASSES, SHARD, SEED = 1000, 10_000, 0
COMPARED = 1_000_000  # up to so many images every rule is compared
SURE = 0.2  # of the images have confidence 1
COPIES = 130 / 300  # copies an image of the set, over all classes
AGAIN = 50  # shards that are drawn together


@dataclasses.dataclass(frozen=True)
class Case:
    """A rule with its settings.

    Attributes:
      name: for the table.
      rule: of SELECTION_RULES.
      settings: but for `images_per_class`.
      is_balanced: whether the classes are.
      share: of the selection that is kept.
    """

    name: str
    rule: str = "confidence"
    settings: SelectionSettings = SelectionSettings()
    is_balanced: bool = True
    share: float = 1.0


LARGE = Case("confidence, balanced")
CASES = (
    LARGE,
    Case("threshold alone", is_balanced=False),
    Case("interval 0.5 to 0.8", settings=SelectionSettings(min_confidence=0.5, max_confidence=0.8)),
    Case("a random half", share=0.5),
    Case("balanced by the prior", settings=SelectionSettings(balance="prior")),
    Case("margin, balanced", "margin"),
    Case("entropy, balanced", "entropy"),
    Case("official thinning", "official"),
)


def make_columns(folder: epath.Path, images: int, classes: int, shard_size: int, has_all: bool) -> LabelStore:
    """Writes the columns of a store without probabilities: label and confidence, or all of them."""
    store, ranges = LabelStore(folder), shard_ranges(images, shard_size)
    shares = np.cumsum(1 / np.arange(1, classes + 1) ** 0.9)
    digests: list[str] = []
    for first in range(0, len(ranges), AGAIN):
        some = ranges[first : first + AGAIN]
        generator, count = np.random.default_rng([SEED, first]), some[-1][1] - some[0][0]
        label = np.searchsorted(shares, generator.random(count, np.float32) * shares[-1], "right")
        confidence = 1 - generator.random(count, np.float32) ** 2 * np.float32(0.95)
        confidence[generator.random(count, np.float32) < SURE] = 1
        columns = {"label": np.minimum(label, classes - 1).astype(np.uint16), "confidence": confidence}
        if has_all:
            columns["margin"] = np.round(confidence * generator.random(count, np.float32), 3)  # with ties
            columns["entropy"] = (1 - columns["margin"].astype(np.float64)) * np.log(classes)
        for start, stop in some:
            part = {name: column[start - some[0][0] : stop - some[0][0]] for name, column in columns.items()}
            if has_all:
                part["sum_of_probs"] = np.bincount(part["label"], part["confidence"], classes)
            digests.append(_write(store.shard_path(len(digests)), pack(part)))
    sync(folder)
    store.write_manifest(
        {
            "ranges": [list(bounds) for bounds in ranges],
            "counts": [stop - start for start, stop in ranges],
            "class_names": [f"class {number}" for number in range(classes)],
            "sha256": digests,
        }
    )
    return store


def _write(path: epath.Path, record: np.ndarray) -> str:
    buffer = io.BytesIO()
    np.save(buffer, record)
    write_bytes(path, buffer.getvalue(), synced=False)
    return hashlib.sha256(buffer.getbuffer()).hexdigest()


def select(store: LabelStore, selection: Selection, case: Case, threads: int) -> dict[str, float]:
    """Selects, as the stage does; seconds of its parts."""
    manifest = store.manifest()
    settings, images = settings_of(case, manifest), manifest["ranges"][-1][1]
    labels = read_labels(store, SEED, progress=Progress(selection.folder / "progress.npz", case.name))
    labels = dataclasses.replace(labels, threads=threads)

    def check(chunk: Chunk) -> None:
        for shard, columns in chunk.shards:
            check_shard(store, shard, columns, labels.num_classes, len(columns), manifest["sha256"][shard])

    times = [time.perf_counter()]
    seen = survey(labels, check)
    times.append(time.perf_counter())
    choose = apply_rule(case.rule, labels, settings)
    times.append(time.perf_counter())
    written = write_copies(selection, store, labels, choose, case.share, labels.progress)
    write_samples(selection, seen, store)
    times.append(time.perf_counter())
    if not written.copies:
        raise RuntimeError(f"{case.name}: nothing of {images} images was selected")
    return dict(zip(("survey", "rule", "write"), np.diff(times).tolist(), strict=True))


def settings_of(case: Case, manifest: dict) -> SelectionSettings:
    """With as many images of a class as are to be trained on."""
    images, classes = manifest["ranges"][-1][1], len(manifest["class_names"])
    return dataclasses.replace(case.settings, images_per_class=round(COPIES * images / classes) * case.is_balanced)


def equals_brute_force(store: LabelStore, selection: Selection, case: Case) -> bool:
    """Whether the selection is what the rule gives with all images in memory."""
    manifest = store.manifest()
    settings, shards = settings_of(case, manifest), range(len(manifest["ranges"]))
    column = lambda name: np.concatenate([store.read_shard(shard)[name] for shard in shards])
    classes, label = len(manifest["class_names"]), column("label")
    random = draw_by_index(np.arange(len(label)), SEED)
    if case.rule == "official":
        expected = reference.thin(label, column("confidence"), random, classes, settings)
    else:
        score = {
            "confidence": functools.partial(column, "confidence"),
            "margin": functools.partial(column, "margin"),
            "entropy": lambda: certainty_of(column("entropy"), classes),
        }[case.rule]()
        sums = [store.read_shard(shard)["sum_of_probs"][None] for shard in shards]
        wanted = reference.images_of_classes(sums, classes, settings)
        expected = reference.filter_and_balance(label, score, random, wanted, settings)
    expected = draw_share(expected, random, case.share)
    return np.array_equal(np.concatenate([selection.read_copies(shard) for shard in shards]), expected)


def measure(
    folder: Path, images: int, threads: int, classes: int = CLASSES, shard_size: int = SHARD, compared: int = COMPARED
) -> list[dict]:
    """Makes a store in `folder` and selects by each rule, or by the paper's alone of many images."""
    is_compared, rows = images <= compared, []
    store = make_columns(epath.Path(folder) / "labels", images, classes, shard_size, is_compared)
    for case in CASES if is_compared else (LARGE,):
        selection = Selection(epath.Path(folder) / "selection")
        seconds = select(store, selection, case, threads)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        equal = equals_brute_force(store, selection, case) if is_compared else None
        rows.append({"images": images, "case": case.name, **seconds, "peak": peak, "equal": equal})
    return rows


def table(rows: list[dict]) -> str:
    """The rows of `measure` as Markdown."""
    said = {None: "-", True: "yes", False: "NO"}
    lines = [
        [
            f"{row['images']:,}",
            row["case"],
            *(f"{row[part]:.1f}" for part in ("survey", "rule", "write")),
            f"{sum(row[part] for part in ('survey', 'rule', 'write')):.1f}",
            f"{row['peak']:,.0f}",
            said[row["equal"]],
        ]
        for row in rows
    ]
    return markdown_table(["images", "rule", "survey, s", "rule, s", "write, s", "all, s", "peak, MiB", "equal"], lines)


def define_flags() -> None:
    flags.DEFINE_list("images", ["1000000", "10000000"], "sizes, one after the other")
    flags.DEFINE_string("folder", None, "where the files lie while it runs; None: the system's folder")
    flags.DEFINE_integer("threads", 2, "chunks that are worked on at a time")
    flags.DEFINE_boolean("alone", False, "one size, in this process")


def main(argv: list[str]) -> None:
    del argv
    if FLAGS.alone:
        print(json.dumps(measure(Path(FLAGS.folder), int(FLAGS.images[0]), FLAGS.threads)))
        return
    rows = []
    for images in FLAGS.images:
        folder = tempfile.mkdtemp(dir=FLAGS.folder)
        try:
            arguments = [f"--images={images}", f"--folder={folder}", f"--threads={FLAGS.threads}", "--alone"]
            process = subprocess.run(
                [sys.executable, "-m", "benchmarks.select_speed", *arguments], stdout=subprocess.PIPE, check=True
            )
            rows += json.loads(process.stdout)
        finally:
            shutil.rmtree(folder)
        print(table(rows), flush=True)


if __name__ == "__main__":
    define_flags()
    app.run(main)
