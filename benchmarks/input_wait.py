"""How long training waits for its input: an ImageNet-shaped run of EfficientNet-B0 from JPEGs of 500 x 375 px.

  python -m benchmarks.input_wait [--steps=40]

Prints, window by window, the share of the time that the devices stood idle for want of a batch.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from absl import app, flags
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from benchmarks import runs
from benchmarks.input_speed import IMAGES, write_jpegs
from ns_jax.report.results import markdown_table

FLAGS = flags.FLAGS
BATCH_SIZE = 16
FULL_SIZE = {
    "variant": "efficientnet-b0",
    "resolution": 224,
    "augment": "('random_area', 'flip', 'randaugment')",
    "noise.randaugment_set": "official",
    "noise.randaugment_magnitude": 9.0,
}


def read_scalars(folder: Path, tag: str) -> dict[int, float]:
    """{step: value} of a curve in TensorBoard's event files."""
    events = EventAccumulator(str(folder))
    events.Reload()
    return {event.step: float(make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)}


def measure(
    steps: int,
    batch_size: int = BATCH_SIZE,
    images_per_class: int = IMAGES,
    log_every_steps: int = 10,
    fields: Mapping[str, object] = FULL_SIZE,
) -> str:
    """Trains for a few steps on two classes of JPEGs.

    Args:
      steps: of training.
      batch_size: images per step.
      images_per_class: number of JPEGs of each class.
      log_every_steps: length of a window.
      fields: of the config: model and augmentation.

    Returns:
      A table of the windows: last step, share of the time without a batch, images per second.
    """
    with tempfile.TemporaryDirectory() as folder:
        data, workdir = Path(folder) / "data", Path(folder) / "run"
        for name in ("a", "b"):
            (data / name).mkdir(parents=True)
            write_jpegs(data / name, images_per_class)
        overrides = {
            **fields,
            "data.labeled": f"folder:{data}",
            "data.test": f"folder:{data}",
            "labeled_batch_size": batch_size,
            "train_epochs": steps * batch_size / (2 * images_per_class),
            "warmup_epochs": 1.0,
            "log_every_steps": log_every_steps,
            "checkpoint_every_steps": 100_000,
        }
        runs.run_main("configs/mnist5k.py:control", workdir, overrides, "--stages=train")
        waits = read_scalars(workdir / "logs", "input_wait_fraction")
        rates = read_scalars(workdir / "logs", "steps_per_second")
    rows = [[f"{step}", f"{100 * waits[step]:.2f} %", f"{batch_size * rates[step]:.1f}"] for step in waits]
    return markdown_table(["until step", "waits for input", "images/s"], rows)


def define_flags() -> None:
    flags.DEFINE_integer("steps", 40, "Training steps, of 16 images.")


def main(argv) -> None:
    del argv
    print(measure(FLAGS.steps))


if __name__ == "__main__":
    define_flags()
    app.run(main)
