"""One image, one corruption, one severity."""

import hashlib

import numpy as np

from ns_jax.data.corruptions import blur, digital, noise, weather
from ns_jax.data.corruptions.tables import settings_of

FUNCTIONS = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": weather.brightness,
    "contrast": digital.contrast,
    "elastic_transform": digital.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
}


def generator_of(seed: int, *names: bytes | str) -> np.random.Generator:
    """The generator of an image: a function of a seed and of names, as its id and a corruption, alone."""
    parts = [name if isinstance(name, bytes) else name.encode() for name in names]
    digest = hashlib.sha256(b"\0".join([str(seed).encode(), *parts])).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


def to_uint8(image: np.ndarray) -> np.ndarray:
    """uint8 of values in [0, 1], clipped and truncated, as the published sets were written."""
    # 1/255 is no binary fraction: without the addition, a value that no operation has touched could lose a level.
    return (np.clip(image, 0, 1) * 255 + 1e-6).astype(np.uint8)


def corrupt(image: np.ndarray, corruption: str, severity: int, random: np.random.Generator) -> np.ndarray:
    """Corrupts an image.

    Args:
      image: uint8 [N, N, 3].
      corruption: one of `tables.CORRUPTIONS`.
      severity: 1 to 5.
      random: all randomness comes from it.

    Returns:
      uint8 [N, N, 3].
    """
    settings = settings_of(corruption, severity, len(image))
    return to_uint8(FUNCTIONS[corruption](image / 255.0, settings, random))
