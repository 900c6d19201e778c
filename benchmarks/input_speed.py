"""Training images per second from JPEG files, beside torchvision's and timm's transforms.

  python -m benchmarks.input_speed [--threads=1]

Each decodes JPEGs of 500 x 375 px, crops at random, resizes to 224 px (bicubic), flips and applies
two operations of RandAugment. This project's kernel is TensorFlow 1's bicubic, as the paper's; the
others use Pillow. --torch_python names an interpreter that has torchvision and timm; a contestant
is left out with --contestants.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
from absl import app, flags

from benchmarks.contest import TURN_SECONDS, contest, table_rows
from ns_jax.report.results import markdown_table

FLAGS = flags.FLAGS
IMAGES = 128  # of one turn
MODULES = {"ns_jax": "ns_jax_input", "torchvision": "torch_input", "timm": "torch_input"}


def write_jpegs(folder: Path, count: int) -> None:
    """Writes `count` random views of scikit-learn's two photographs, 500 x 375 px."""
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    photos = [PIL.Image.fromarray(photo) for photo in load_sample_images().images]
    for number in range(count):
        photo = photos[number % 2]
        height = int(rng.integers(225, photo.height))
        width = min(photo.width, height * 4 // 3)
        left, top = (int(rng.integers(0, room + 1)) for room in (photo.width - width, photo.height - height))
        view = photo.resize((500, 375), PIL.Image.Resampling.BICUBIC, (left, top, left + width, top + height))
        view.save(folder / f"{number:03d}.jpg", quality=90)


def measure(
    contestants: Sequence[str],
    rounds: int,
    threads: int,
    torch_python: str = sys.executable,
    images: int = IMAGES,
    turn_seconds: float = TURN_SECONDS,
) -> str:
    """Lets the contestants read the same folder of JPEGs.

    Args:
      contestants: keys of MODULES.
      rounds: turns of each.
      threads: cores of each.
      torch_python: interpreter of torchvision and timm.
      images: number of JPEGs.
      turn_seconds: length of a turn.

    Returns:
      A table of images per second.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_jpegs(Path(folder), images)
        commands = {}
        for name in contestants:
            python = sys.executable if name == "ns_jax" else torch_python
            module = f"benchmarks.contestants.{MODULES[name]}"
            commands[name] = [python, "-m", module, folder, name, str(threads)]
        seconds = contest(commands, rounds, threads, turn_seconds)
    first = contestants[0]
    return markdown_table(["", "images/s", "quartiles", f"{first} is faster by"], table_rows(seconds, images, first))


def define_flags() -> None:
    flags.DEFINE_integer("threads", 1, "Cores of each contestant.")
    flags.DEFINE_integer("rounds", 9, "Turns of each contestant.")
    flags.DEFINE_list("contestants", ["ns_jax", "torchvision", "timm"], "Who takes part.")
    flags.DEFINE_string("torch_python", sys.executable, "Interpreter that has torchvision and timm.")


def main(argv) -> None:
    del argv
    table = measure(FLAGS.contestants, FLAGS.rounds, FLAGS.threads, FLAGS.torch_python)
    print(f"\n224 px from JPEGs of 500 x 375 px, {FLAGS.threads} cores, {FLAGS.rounds} rounds\n\n{table}")


if __name__ == "__main__":
    define_flags()
    app.run(main)
