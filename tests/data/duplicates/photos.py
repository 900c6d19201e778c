"""Photographs, and copies of them, as files."""

from pathlib import Path

import PIL.Image

from benchmarks.input_speed import write_jpegs


def write_photos(folder: Path, count: int) -> list[Path]:
    """Writes `count` JPEGs of 500 x 375 px that show different things, and returns their paths."""
    folder.mkdir(parents=True)
    write_jpegs(folder, count)
    return sorted(folder.iterdir())


def save_copy(path: Path, to: Path, size: tuple[int, int] | None = None, **options) -> None:
    """Saves an image in the format of another name, resized to (width, height) where that is given."""
    with PIL.Image.open(path) as image:
        image.resize(size or image.size).save(to, **options)
