"""The label stage and an evaluation beside the bare forward pass of the same network, on the same batches.

  python -m benchmarks.label_speed [--variant=efficientnet-b0] [--images=256] [--rounds=7]

JPEGs of 500 x 375 px in ArrayRecord shards, as in benchmarks.shard_speed; variants for images of 32 px or less read the
demo's digits. In every round, in turns: the forward pass of batches that are in memory; the label stage, from the first
shard that is claimed to the last that is written; an evaluation; and reading alone, with no network. Compilation comes
before. On a CPU, reading takes cores from the network: what remains beside that is the stage's own.
"""

import contextlib
import io
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from absl import app, flags
from etils import epath

from ns_jax.report.results import markdown_table

FLAGS = flags.FLAGS
SHARDS = 4


def open_images(folder: Path, images: int, is_small: bool):
    """The images, from shards of JPEGs, or the first digits of the demo."""
    from ns_jax.data.sources.registry import open_source

    if is_small:
        return open_source("mnist5k:unlabeled"), min(images, 3900)
    from benchmarks.input_speed import write_jpegs
    from tests.data.shards import write

    (folder / "files").mkdir()
    write_jpegs(folder / "files", images)
    contents = [path.read_bytes() for path in sorted((folder / "files").iterdir())]
    for number, part in enumerate(np.array_split(np.arange(images), SHARDS)):
        records = [write.example(image=contents[index]) for index in part]
        write.array_record(folder / f"images-{number}", records)
    return open_source(f"arrayrecord:{folder}/images-*", labels=False), images


def make_predictor(folder: Path, variant: str, num_classes: int, batch_size: int, resolution: int | None):
    """A predictor of a fresh network, as the stages make it."""
    from ns_jax.artifact.weights import Artifact
    from ns_jax.data.views import View
    from ns_jax.inference.predictor import Predictor
    from ns_jax.models.base import BuildOptions, build_network
    from ns_jax.models.registry import get_architecture
    from ns_jax.parallel.mesh import make_mesh

    network = build_network(get_architecture(variant), num_classes, BuildOptions())
    inputs = network.inputs
    size = resolution or inputs.test_resolution
    variables = jax.device_get(jax.jit(lambda: network.init(0, size))())
    artifact = Artifact(variables, {"class_names": [str(c) for c in range(num_classes)]}, epath.Path(folder))
    return Predictor(artifact, network, View(size, inputs.crop_padding, inputs.interpolation), make_mesh(), batch_size)


def label(folder: Path, predictor, source, images: int) -> None:
    """What the label stage does with a new folder, without its bar."""
    from ns_jax.pseudo_labels.store import LabelStore, shard_ranges
    from ns_jax.stages.label import label_shards

    shutil.rmtree(folder, ignore_errors=True)
    ranges = shard_ranges(images, -(-images // SHARDS))
    with contextlib.redirect_stdout(io.StringIO()):
        label_shards(LabelStore(epath.Path(folder)), source, np.arange(images), ranges, lambda: predictor, "label")


def evaluate(predictor, source, images: int) -> None:
    """What an evaluation does, without counting."""
    for _ in predictor.every_example(source, np.arange(images)):
        pass


def read(predictor, source, images: int) -> list[dict]:
    """The batches of the images."""
    from ns_jax.data.pipeline import eval_batches

    return list(eval_batches(source, np.arange(images), predictor.view, predictor.batch_size_of_host))


def forward(predictor, batches: list[dict]) -> None:
    """The network's pass over batches that are in memory, each sent before the last one's result is waited for."""
    from ns_jax.parallel.mesh import to_global

    last = None
    for batch in batches:
        examples = (batch["image"], batch["label"].astype(np.int32), batch["index"].astype(np.int32))
        image, _, ids = to_global(predictor.mesh, examples)
        result = predictor._predict(predictor.variables, image, ids)
        if last is not None:
            np.asarray(last)
        last = result
    np.asarray(last)


def seconds_of(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds that `work` takes, and seconds of the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def measure(variant: str, images: int, batch_size: int, rounds: int, resolution: int | None = None) -> str:
    """A table of images/s, of all beside the bare forward pass.

    Args:
      variant: the model.
      images: of one turn.
      batch_size: of the predictions.
      rounds: turns of each.
      resolution: in pixels; None: the variant's.
    """
    from ns_jax.models.registry import get_architecture

    is_small = get_architecture(variant).inputs.resolution <= 32
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, images = open_images(folder, images, is_small)
        predictor = make_predictor(folder, variant, 10 if is_small else 1000, batch_size, resolution)
        batches = read(predictor, source, images)
        turns: dict[str, Callable[[], object]] = {
            "bare forward": lambda: forward(predictor, batches),
            "label stage": lambda: label(folder / "labels", predictor, source, images),
            "evaluation": lambda: evaluate(predictor, source, images),
            "reading alone": lambda: read(predictor, source, images),
        }
        seconds: dict[str, list[tuple[float, float]]] = {what: [] for what in turns}
        turns["bare forward"]()  # compiles
        for _ in range(rounds):
            for what, work in turns.items():
                seconds[what].append(seconds_of(work))
    return markdown_table(
        ["", "images/s", "of the bare forward's time", "quartiles", "of its processor time"],
        [row_of(what, times, seconds["bare forward"], images) for what, times in seconds.items()],
    )


def row_of(what: str, times: list[tuple[float, float]], bare: list[tuple[float, float]], images: int) -> list[str]:
    """A row of the table: ratios are of the turns of one round."""
    walls = [100 * wall / base for (wall, _), (base, _) in zip(times, bare, strict=True)]
    processor = [100 * own / base for (_, own), (_, base) in zip(times, bare, strict=True)]
    low, middle, high = np.percentile(walls, [25, 50, 75])
    speed = images / statistics.median(wall for wall, _ in times)
    return [
        what,
        f"{speed:.1f}",
        f"{middle:.1f} %",
        f"{low:.1f} to {high:.1f}",
        f"{statistics.median(processor):.1f} %",
    ]


def define_flags() -> None:
    flags.DEFINE_string("variant", "efficientnet-b0", "A model variant, as in a config.")
    flags.DEFINE_integer("images", 256, "Images of a turn.", lower_bound=SHARDS)
    flags.DEFINE_integer("batch_size", 16, "Of the predictions.", lower_bound=1)
    flags.DEFINE_integer("rounds", 7, "Turns of each.", lower_bound=1)


def main(argv) -> None:
    del argv
    what = f"{FLAGS.variant}, batches of {FLAGS.batch_size}, {FLAGS.images} images, {FLAGS.rounds} rounds"
    print(f"\n{what}\n\n{measure(FLAGS.variant, FLAGS.images, FLAGS.batch_size, FLAGS.rounds)}", flush=True)


if __name__ == "__main__":
    from ns_jax.host_memory import restart_with_kept_memory, use_cpu_alone

    use_cpu_alone()
    restart_with_kept_memory()  # as ns_jax.main does
    define_flags()
    app.run(main)
