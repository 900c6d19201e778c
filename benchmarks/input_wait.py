"""How long training waits for its input: an ImageNet-shaped run of EfficientNet-B0 from JPEGs of 500 x 375 px.

  python -m benchmarks.input_wait [--steps=40]

Prints, window by window, the share of the time that the devices stood idle for want of a batch.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from absl import app, flags
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from benchmarks.input_speed import IMAGES, write_jpegs
from ns_jax.report.results import markdown_table

FLAGS = flags.FLAGS
flags.DEFINE_integer("steps", 40, "Training steps, of 16 images.")
BATCH = 16


def main(argv) -> None:
    del argv
    with tempfile.TemporaryDirectory() as folder:
        data, workdir = Path(folder) / "data", Path(folder) / "run"
        for name in ("a", "b"):
            (data / name).mkdir(parents=True)
            write_jpegs(data / name)
        # An epoch is 2 * IMAGES images.
        overrides = {
            "variant": "efficientnet-b0",
            "resolution": 224,
            "crop": "random_area",
            "flip": True,
            "noise.randaugment_exclude": "()",
            "noise.randaugment_magnitude": 9.0,
            "data.labeled": f"folder:{data}",
            "data.test": f"folder:{data}",
            "labeled_batch_size": BATCH,
            "train_epochs": FLAGS.steps * BATCH / (2 * IMAGES),
            "warmup_epochs": 1.0,
            "log_every_steps": 10,
            "checkpoint_every_steps": 100_000,
        }
        subprocess.run(
            [
                sys.executable,
                "-m",
                "ns_jax.main",
                "--config=configs/mnist5k.py:control",
                f"--workdir={workdir}",
                "--stages=train",
                *(f"--config.{key}={value}" for key, value in overrides.items()),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        events = EventAccumulator(str(workdir / "logs"))
        events.Reload()
        columns = {
            tag: [(one.step, float(make_ndarray(one.tensor_proto))) for one in events.Tensors(tag)]
            for tag in ("input_wait_fraction", "steps_per_second")
        }
    rows = [
        [f"{step}", f"{100 * wait:.2f} %", f"{BATCH * rate:.1f}"]
        for (step, wait), (_, rate) in zip(columns["input_wait_fraction"], columns["steps_per_second"], strict=True)
    ]
    print(markdown_table(["until step", "waits for input", "images/s"], rows))


if __name__ == "__main__":
    app.run(main)
