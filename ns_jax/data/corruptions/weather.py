"""Weather: snow, frost, fog, sun. NumPy and SciPy; images are float64 [N, N, 3] in [0, 1]."""

import numpy as np

from ns_jax.data.corruptions.blur import move_along, zoom_in
from ns_jax.data.corruptions.textures import clouds, frost_texture, power_of_two

GREY = np.array([0.299, 0.587, 0.114])  # weights of red, green and blue in a grey image (ITU-R BT.601)


def snow_flakes(size: int, mean: float, deviation: float, zoom: float, threshold: float, random) -> np.ndarray:
    """Normal noise, enlarged, without what lies below a threshold: float64 [size, size], multiples of 1/255 up to 1."""
    flakes = zoom_in(random.normal(mean, deviation, (size, size)), zoom)
    flakes[flakes < threshold] = 0
    return (np.clip(flakes, 0, 1) * 255).astype(np.uint8) / 255.0


def under_snow(image: np.ndarray, falling: np.ndarray, brightness: float) -> np.ndarray:
    """An image, whitened by 1 - `brightness`, below snow [N, N] that falls and the same turned by 180 degrees."""
    white = np.maximum(image, (image @ GREY)[:, :, None] * 1.5 + 0.5)
    return brightness * image + (1 - brightness) * white + (falling + np.rot90(falling, 2))[:, :, None]


def snow(image: np.ndarray, settings: tuple, random: np.random.Generator) -> np.ndarray:
    """Lets snow fall.

    `settings`: mean, deviation, enlargement and threshold of the flakes; length and deviation of their movement;
    how much of the image's brightness stays.
    """
    mean, deviation, zoom, threshold, radius, sigma, brightness = settings
    flakes = snow_flakes(len(image), mean, deviation, zoom, threshold, random)
    falling = np.round(move_along(flakes, radius, sigma, random.uniform(-135, -45)) * 255) / 255
    return under_snow(image, falling, brightness)


def frost(image: np.ndarray, settings: tuple[float, float], random: np.random.Generator) -> np.ndarray:
    """Weighted sum of the image and of ice; `settings` are the weights.

    ImageNet-C's ice is cut from photographs; this one is drawn, see `frost_texture`.
    """
    of_image, of_ice = settings
    return of_image * image + of_ice * frost_texture(len(image), random) / 255.0


def fog(image: np.ndarray, settings: tuple[float, float], random: np.random.Generator) -> np.ndarray:
    """Adds clouds and scales to the old maximum; `settings`: their strength, and the decay of their height map."""
    strength, decay = settings
    size, largest = len(image), image.max()
    layer = clouds(max(32, power_of_two(size)), decay, random)[:size, :size]
    return (image + strength * layer[:, :, None]) * largest / (largest + strength)


def brightness(image: np.ndarray, amount: float, random: np.random.Generator | None = None) -> np.ndarray:
    """Adds to the value of HSV: the largest channel grows by `amount`, up to 1, and the others in proportion.

    The same numbers as by a conversion to HSV and back; a black pixel becomes grey.
    """
    del random
    value = image.max(2, keepdims=True)
    wanted = np.clip(value + amount, 0, 1)
    return np.where(value > 0, image * (wanted / np.maximum(value, 1e-12)), wanted)
