"""Training images per second from JPEG files, beside torchvision's and timm's transforms.

  python -m benchmarks.input_speed [--threads=1]

Each decodes JPEGs of 500 x 375 px, crops at random, resizes to 224 px (bicubic), flips and applies
two operations of RandAugment. This project's kernel is TensorFlow 1's bicubic, as the paper's; the
others use Pillow. --torch_python names an interpreter that has torchvision and timm; a contestant
is left out with --contestants.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import PIL.Image
from absl import app, flags
from sklearn.datasets import load_sample_images

from benchmarks.contest import contest, table_rows
from ns_jax.report.results import markdown_table

FLAGS = flags.FLAGS
flags.DEFINE_integer("threads", 1, "Cores of each contestant.")
flags.DEFINE_integer("rounds", 9, "Turns of each contestant.")
flags.DEFINE_list("contestants", ["ns_jax", "torchvision", "timm"], "Who takes part.")
flags.DEFINE_string("torch_python", sys.executable, "Interpreter that has torchvision and timm.")
IMAGES = 128  # of one turn


def write_jpegs(folder: Path) -> None:
    """Random views of scikit-learn's two photographs."""
    rng = np.random.default_rng(0)
    photos = [PIL.Image.fromarray(photo) for photo in load_sample_images().images]
    for number in range(IMAGES):
        photo = photos[number % 2]
        height = int(rng.integers(225, photo.height))
        width = min(photo.width, height * 4 // 3)
        left, top = (int(rng.integers(0, room + 1)) for room in (photo.width - width, photo.height - height))
        view = photo.resize((500, 375), PIL.Image.Resampling.BICUBIC, (left, top, left + width, top + height))
        view.save(folder / f"{number:03d}.jpg", quality=90)


def main(argv) -> None:
    del argv
    with tempfile.TemporaryDirectory() as folder:
        write_jpegs(Path(folder))
        commands = {}
        for name in FLAGS.contestants:
            python = sys.executable if name == "ns_jax" else FLAGS.torch_python
            module = "ns_jax_input" if name == "ns_jax" else "torch_input"
            commands[name] = [python, "-m", f"benchmarks.contestants.{module}", folder, name, str(FLAGS.threads)]
        seconds = contest(commands, FLAGS.rounds, FLAGS.threads)
    print(f"\n224 px from JPEGs of 500 x 375 px, {FLAGS.threads} cores, {FLAGS.rounds} rounds\n")
    first = FLAGS.contestants[0]
    print(markdown_table(["", "images/s", "quartiles", f"{first} is faster by"], table_rows(seconds, IMAGES, first)))


if __name__ == "__main__":
    app.run(main)
