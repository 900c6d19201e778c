"""In how many bits the perceptual hashes of an image and of its copies differ, for the default of `--distance`.

  python -m benchmarks.duplicate_distances [--images=40]

The images are views of two photographs, 500 x 375 px. The last row is of views that differ.
"""

import io
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import PIL.Image
from absl import app, flags

from benchmarks.input_speed import write_jpegs
from ns_jax.data.duplicates.fingerprints import perceptual_hash
from ns_jax.report.results import markdown_table

FLAGS = flags.FLAGS
IMAGES = 40


def as_jpeg(image: PIL.Image.Image, quality: int) -> PIL.Image.Image:
    """What is left of an image in a JPEG file."""
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    return PIL.Image.open(content).convert("RGB")


def without_border(image: PIL.Image.Image, share: float) -> PIL.Image.Image:
    """An image without a share of its width and height at each edge."""
    left, top = round(share * image.width), round(share * image.height)
    return image.crop((left, top, image.width - left, image.height - top))


COPIES: dict[str, Callable[[PIL.Image.Image], PIL.Image.Image]] = {
    "JPEG, quality 50": lambda image: as_jpeg(image, 50),
    "JPEG, quality 20": lambda image: as_jpeg(image, 20),
    "resized to 250 x 188": lambda image: image.resize((250, 188)),
    "resized to 224 x 224, nearest": lambda image: image.resize((224, 224), PIL.Image.Resampling.NEAREST),
    "resized to 32 x 32": lambda image: image.resize((32, 32)),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "20 % brighter": lambda image: image.point(lambda value: min(255, round(1.2 * value))),
    "2.5 % less at each edge": lambda image: without_border(image, 0.025),
    "mirrored": lambda image: image.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT),
}


def describe(name: str, distances: Sequence[int]) -> list[str]:
    """A row of the table."""
    within = sum(distance <= 4 for distance in distances)
    return [name, f"{np.median(distances):g}", f"{min(distances)} to {max(distances)}", f"{within} of {len(distances)}"]


def measure(images: int) -> str:
    """A table of distances between `images` views and their copies, and between different views."""
    compute, _ = perceptual_hash()
    with tempfile.TemporaryDirectory() as folder:
        write_jpegs(Path(folder), images)
        views = [PIL.Image.open(path).convert("RGB") for path in sorted(Path(folder).iterdir())]
    hashes = [compute(np.asarray(view)) for view in views]
    rows = []
    for name, copy in COPIES.items():
        copies = [compute(np.asarray(copy(view))) for view in views]
        pairs = zip(hashes, copies, strict=True)
        rows.append(describe(name, [(first ^ second).bit_count() for first, second in pairs]))
    others = [(first ^ hashes[j]).bit_count() for i, first in enumerate(hashes) for j in range(i)]
    rows.append(describe("another view", others))
    return markdown_table(["copy", "median distance", "range", "within 4"], rows)


def define_flags() -> None:
    flags.DEFINE_integer("images", IMAGES, "Number of views.", lower_bound=2)


def main(argv) -> None:
    del argv
    print(measure(FLAGS.images))


if __name__ == "__main__":
    define_flags()
    app.run(main)
