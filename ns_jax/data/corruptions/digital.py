"""Contrast, elastic deformation, pixels and JPEG. NumPy, SciPy and Pillow; images are float64 [N, N, 3] in [0, 1]."""

import io

import numpy as np
import PIL.Image
from scipy import ndimage

from ns_jax.data.corruptions.tables import ELASTIC_SIDE, nearest_table


def contrast(image: np.ndarray, factor: float, random: np.random.Generator) -> np.ndarray:
    """Brings the values of each channel closer to its mean."""
    del random
    mean = image.mean((0, 1), keepdims=True)
    return (image - mean) * factor + mean


def elastic_transform(image: np.ndarray, settings: tuple[float, float, float], random) -> np.ndarray:
    """Moves three points at random with all that lies around them, then every pixel by a smooth random field.

    `settings`: shares of the image's side by which pixels move, over which the field is smooth, and by which the
    points move.
    """
    size = len(image)
    side = ELASTIC_SIDE[nearest_table(size)] * size / nearest_table(size)
    strength, smoothness, shift = (side * share for share in settings)
    image = move_points(image, random.uniform(-shift, shift, (3, 2)))
    fields = []
    for _ in range(2):
        field = random.uniform(-1, 1, (size, size))
        if smoothness:
            field = ndimage.gaussian_filter(field, smoothness, mode="reflect", truncate=3)
        fields.append(field * strength)
    across, down = fields
    rows, columns = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    places = np.stack([rows + down, columns + across])
    return np.stack([ndimage.map_coordinates(channel, places, order=1, mode="reflect") for channel in planes(image)], 2)


def move_points(image: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """The affine map that moves three points around the centre by `shifts` [3, 2] pixels, (x, y) each (bilinear)."""
    size = len(image)
    centre, reach = np.full(2, size // 2), size // 3
    before = np.stack([centre + reach, [centre[0] + reach, centre[1] - reach], centre - reach]).astype(np.float64)
    after = before + shifts
    # Of each point of the new image, where it was: [x, y, 1] of `after` to (x, y) of `before`.
    matrix = np.linalg.solve(np.column_stack([after, np.ones(3)]), before).T
    swapped, offset = matrix[::-1, 1::-1], matrix[::-1, 2]  # of (row, column)
    moved = [ndimage.affine_transform(channel, swapped, offset, order=1, mode="mirror") for channel in planes(image)]
    return np.stack(moved, 2)


def planes(image: np.ndarray) -> np.ndarray:
    """[C, H, W] of [H, W, C]."""
    return np.moveaxis(image, 2, 0)


def to_pillow(image: np.ndarray) -> PIL.Image.Image:
    return PIL.Image.fromarray(np.round(image * 255).astype(np.uint8))


def from_pillow(image: PIL.Image.Image) -> np.ndarray:
    return np.asarray(image).astype(np.float64) / 255.0


def pixelate(image: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """Makes the image smaller and larger again, by means over boxes."""
    del random
    size = len(image)
    few = max(1, int(size * share))
    small = to_pillow(image).resize((few, few), PIL.Image.Resampling.BOX)
    return from_pillow(small.resize((size, size), PIL.Image.Resampling.BOX))


def jpeg_compression(image: np.ndarray, quality: int, random: np.random.Generator) -> np.ndarray:
    """Stores the image as JPEG and reads it."""
    del random
    buffer = io.BytesIO()
    to_pillow(image).save(buffer, "JPEG", quality=quality)
    return from_pillow(PIL.Image.open(buffer))
