"""Random textures of fog and frost. NumPy; all randomness comes from a generator."""

import numpy as np
from scipy import ndimage


def clouds(size: int, decay: float, random: np.random.Generator) -> np.ndarray:
    """A height map by midpoint displacement (diamond-square) on a torus: float64 [size, size], scaled to [0, 1].

    Args:
      size: a power of two.
      decay: by which the displacement shrinks each time that the grid is halved; it begins at 100, and its square
        bounds what is added, as in ImageNet-C.
    """
    heights = np.zeros((size, size))
    step, bound = size, 100.0
    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        square = corners + np.roll(corners, -1, 0)
        square = square + np.roll(square, -1, 1)
        heights[half::step, half::step] = square / 4 + bound * random.uniform(-bound, bound, corners.shape)
        middles = heights[half::step, half::step]
        above = middles + np.roll(middles, 1, 0) + corners + np.roll(corners, -1, 1)
        heights[::step, half::step] = above / 4 + bound * random.uniform(-bound, bound, corners.shape)
        beside = middles + np.roll(middles, 1, 1) + corners + np.roll(corners, -1, 0)
        heights[half::step, ::step] = beside / 4 + bound * random.uniform(-bound, bound, corners.shape)
        step, bound = half, bound / decay
    heights -= heights.min()
    return heights / heights.max()


def power_of_two(size: int) -> int:
    """The smallest power of two that is at least `size`."""
    return 1 << (size - 1).bit_length()


# Of the five photographs of frost from which ImageNet-C cuts: the means of their channels on 0..255 and the standard
# deviation within one, measured on hendrycks/robustness ImageNet-C/create_c/frost1.png to frost5.jpg.
FROST_COLOURS = ((78, 149, 166), (201, 205, 214), (201, 205, 214), (138, 153, 165), (112, 123, 135))
FROST_DEVIATIONS = (20, 22, 22, 29, 43)
NEEDLES = 12  # directions in which ice grows from one another


def frost_texture(size: int, random: np.random.Generator) -> np.ndarray:
    """Ice on a window: float64 [size, size, 3] on 0..255.

    Needles of random directions (noise that is smeared along a line, one direction to a patch), with the colour and
    contrast of one of the photographs from which ImageNet-C cuts its frost.
    """
    kind = random.integers(len(FROST_COLOURS))
    grid = power_of_two(size)
    patches = clouds(grid, 1.8, random)[:size, :size]
    direction = (patches * NEEDLES).astype(int) % NEEDLES
    seeds, ice = random.normal(size=(size, size)), np.zeros((size, size))
    reach = max(3, size // 16)
    for number in range(NEEDLES):
        is_here = direction == number
        if not is_here.any():
            continue
        angle = np.pi * random.random()
        needle = np.zeros((2 * reach + 1, 2 * reach + 1))
        along = np.linspace(-reach, reach, 4 * reach + 1)
        across, down = np.round(np.cos(angle) * along).astype(int), np.round(np.sin(angle) * along).astype(int)
        needle[reach + down, reach + across] = 1
        ice[is_here] = ndimage.convolve(seeds, needle / needle.sum(), mode="wrap")[is_here]
    ice = standardised(ice) + standardised(clouds(grid, 2.0, random)[:size, :size])
    ice = standardised(ice)[:, :, None] * FROST_DEVIATIONS[kind] + np.asarray(FROST_COLOURS[kind], np.float64)
    return np.clip(ice, 0, 255)


def standardised(values: np.ndarray) -> np.ndarray:
    """Values of mean 0 and standard deviation 1."""
    return (values - values.mean()) / max(float(values.std()), 1e-9)
