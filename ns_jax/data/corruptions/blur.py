"""Blurs: out of focus, behind frosted glass, of a moving camera, of a zoom. NumPy and SciPy.

Images are float64 [H, W, 3] in [0, 1].
"""

import functools

import numpy as np
from scipy import ndimage


def smooth(image: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian filter of standard deviation `sigma` pixels, which repeats the image's edge; the channels apart."""
    return ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="nearest")


@functools.cache
def disk(radius: float, sigma: float) -> np.ndarray:
    """A disk that adds up to 1, smoothed by a Gaussian of 3 pixels (5 beyond a radius of 8): float64 [K, K]."""
    reach = 8 if radius <= 8 else int(radius)
    axis = np.arange(-reach, reach + 1)
    inside = (axis[:, None] ** 2 + axis[None] ** 2 <= radius**2).astype(np.float64)
    width = 1 if radius <= 8 else 2
    offsets = np.arange(-width, width + 1)
    weights = np.exp(-(offsets**2) / (2 * sigma**2))
    weights /= weights.sum()
    disk_of_one = inside / inside.sum()
    for dimension in (0, 1):
        disk_of_one = ndimage.correlate1d(disk_of_one, weights, axis=dimension, mode="mirror")
    return disk_of_one


def defocus_blur(image: np.ndarray, settings: tuple[float, float], random: np.random.Generator) -> np.ndarray:
    """Filters with a disk; `settings` are its radius and the standard deviation that smooths it, in pixels."""
    del random
    kernel = disk(*settings)
    rows = np.flatnonzero(kernel.any(1))  # what is 0 around a small disk costs time
    kernel = kernel[rows[0] : rows[-1] + 1, rows[0] : rows[-1] + 1]
    return ndimage.correlate(image, kernel[:, :, None], mode="mirror")


def glass_blur(image: np.ndarray, settings: tuple[float, int, int], random: np.random.Generator) -> np.ndarray:
    """Smooths, moves pixels about, and smooths again.

    `settings`: standard deviation of the filter, how far a pixel is moved, how often. The official code means to swap
    two pixels, but copies one over the other (its tuple assignment reads what it has just written); so does this.
    """
    sigma, reach, times = settings
    values = (smooth(image, sigma) * 255).astype(np.uint8)
    height, width = values.shape[:2]
    rows, columns = np.arange(height - reach, reach, -1), np.arange(width - reach, reach, -1)
    places = (rows[:, None] * width + columns).ravel()
    taken = list(range(height * width))  # which pixel each place shows
    for _ in range(times):
        across, down = random.integers(-reach, reach, (len(places), 2)).T
        for place, other in zip(places.tolist(), (places + down * width + across).tolist(), strict=True):
            taken[place] = taken[other]
    moved = values.reshape(-1, values.shape[-1])[taken].reshape(values.shape)
    return smooth(moved / 255.0, sigma)


def move_along(image: np.ndarray, radius: float, sigma: float, angle: float) -> np.ndarray:
    """Blurs along a line, in one direction, as ImageMagick's motion blur does (its source, `MotionBlurImage`).

    Args:
      image: [H, W] or [H, W, C]; its edge is repeated.
      radius: length of the line, pixels.
      sigma: standard deviation of the weights, half of a Gaussian.
      angle: of the line, degrees.
    """
    steps = np.arange(2 * int(np.ceil(radius)) + 1)
    weights = np.exp(-(steps**2) / (2.0 * sigma**2))
    weights /= weights.sum()
    direction = np.deg2rad(angle)
    across = np.ceil(steps * np.cos(direction) - 0.5).astype(int)
    down = np.ceil(steps * np.sin(direction) - 0.5).astype(int)
    reach = int(max(np.abs(across).max(), np.abs(down).max()))
    around = ((reach, reach), (reach, reach)) + ((0, 0),) * (image.ndim - 2)
    padded = np.pad(image, around, mode="edge")
    height, width = image.shape[:2]
    total = np.zeros(image.shape)
    for weight, x, y in zip(weights, across, down, strict=True):
        if weight > 1e-6:
            total += weight * padded[reach + y : reach + y + height, reach + x : reach + x + width]
    return total


def motion_blur(image: np.ndarray, settings: tuple[float, float], random: np.random.Generator) -> np.ndarray:
    """Blurs along a line of -45 to 45 degrees; `settings`: its length and the standard deviation, pixels."""
    return move_along(image, *settings, angle=random.uniform(-45, 45))


def zoom_in(image: np.ndarray, factor: float) -> np.ndarray:
    """The centre of an image [N, N] or [N, N, C], enlarged to its size (bilinear)."""
    size = image.shape[0]
    part = int(np.ceil(size / factor))
    top = (size - part) // 2
    centre = image[top : top + part, top : top + part]
    larger = ndimage.zoom(centre, (factor, factor) + (1,) * (image.ndim - 2), order=1)
    trim = (larger.shape[0] - size) // 2
    return larger[trim : trim + size, trim : trim + size]


@functools.cache
def zoom_matrices(size: int, stop: float, step: float) -> np.ndarray:
    """What `zoom_in` does to an image's rows, by each factor from 1 to `stop` (excluded): float32 [F, size, size]."""
    matrices = []
    for factor in np.arange(1, stop, step):
        part = int(np.ceil(size / factor))
        top = (size - part) // 2
        larger = ndimage.zoom(np.eye(size, dtype=np.float32)[top : top + part], (factor, 1), order=1)
        trim = (len(larger) - size) // 2
        matrices.append(larger[trim : trim + size])
    return np.stack(matrices)


def zoom_blur(image: np.ndarray, settings: tuple[float, float], random: np.random.Generator) -> np.ndarray:
    """Mean of the image and of enlarged ones; `settings`: end (excluded) and step of the factors, which begin at 1."""
    del random
    size = len(image)
    matrices = zoom_matrices(size, *settings)
    single = image.astype(np.float32)
    rows = (matrices @ single.reshape(size, -1)).reshape(len(matrices), size, size, -1)
    # Of all factors together: sum over f and b of rows[f, a, b, channel] * matrices[f, c, b].
    total = np.tensordot(rows, matrices, axes=((0, 2), (0, 2)))
    return ((single + total.transpose(0, 2, 1)) / (len(matrices) + 1)).astype(np.float64)
