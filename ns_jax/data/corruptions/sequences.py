"""The ten perturbation sequences of ImageNet-P: an image that changes a little from frame to frame.

The numbers are those of the published sets, read in hendrycks/robustness (commit 8190fe3), folder ImageNet-P/create_p:
make_cifar_p.py (32 px), make_tinyimagenet_p.py (64 px), make_imagenet_p.py (224 px). An image of another size takes
those of the nearest. The published frames have gone through a video codec besides, and these have not.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import PIL.Image

from ns_jax.data.corruptions.blur import move_along
from ns_jax.data.corruptions.corrupt import to_uint8
from ns_jax.data.corruptions.weather import brightness, snow_flakes, under_snow

BILINEAR, NEAREST = PIL.Image.Resampling.BILINEAR, PIL.Image.Resampling.NEAREST
SNOW_BRIGHTNESS = 0.85  # that stays of the image


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a set was made.

    Attributes:
      frames: of every sequence but `translate` and `motion_blur`.
      noise: standard deviation of Gaussian noise, on 0..1.
      photons: of shot noise.
      motion: length and deviation of the blur in pixels, degrees by which it turns, frames.
      snow: deviation and enlargement of the flakes, length and deviation of their movement in pixels.
      brightness: step of the value of HSV.
      translate: first shift in pixels, frames; the shift grows by 1.
      tilt: degrees a frame, about both axes.
      scale: first factor and step, in percent.
    """

    noise: float
    photons: int
    motion: tuple[float, float, float, int]
    snow: tuple[float, float, float, float]
    brightness: float
    translate: tuple[int, int]
    tilt: float
    scale: tuple[float, float]
    frames: int = 31


SETTINGS = {
    32: Settings(0.02, 700, (6, 1.8, 9, 21), (0.3, 2, 10, 2), 0.015, (-7, 16), 0.75, (70, 2)),
    64: Settings(0.025, 500, (14, 3, 5, 31), (0.28, 2, 10, 2.5), 0.02, (-15, 31), 1, (40, 2.5)),
    224: Settings(0.03, 300, (10, 3, 4, 31), (0.3, 3, 14, 4), 0.02, (-20, 41), 1, (40, 2.5)),
}
# What a perturbation is compared with, see ns_jax/evaluators/perturbations.py, goes by 'noise' in its name.
PERTURBATIONS = (
    "gaussian_noise",
    "shot_noise",
    "motion_blur",
    "zoom_blur",
    "snow",
    "brightness",
    "translate",
    "rotate",
    "tilt",
    "scale",
)


def settings_for(size: int) -> Settings:
    """The settings of the set whose images are nearest to `size` pixels."""
    return SETTINGS[min(SETTINGS, key=lambda known: max(known / size, size / known))]


def num_frames(perturbation: str, size: int) -> int:
    """Frames of a sequence of images of `size` pixels."""
    settings = settings_for(size)
    special = {"translate": settings.translate[1], "motion_blur": settings.motion[3]}
    return special.get(perturbation, settings.frames)


def sequence(image: np.ndarray, perturbation: str, size: int, random: np.random.Generator) -> np.ndarray:
    """All frames of one image.

    Args:
      image: uint8 [M, M, 3], M >= size: what lies beyond the frame moves into it, and beyond that is black.
      perturbation: one of `PERTURBATIONS`.
      size: side of the frames.
      random: all randomness comes from it.

    Returns:
      uint8 [frames, size, size, 3].
    """
    return FUNCTIONS[perturbation](image, size, settings_for(size), random)


def centre(image: np.ndarray, size: int) -> np.ndarray:
    """The centre [size, size, 3] of an image [M, M, 3]."""
    margin = (image.shape[0] - size + 1) // 2
    return image[margin : margin + size, margin : margin + size]


def noisy(image: np.ndarray, size: int, frames: int, add: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The clean frame, and then frames of which each has noise of its own."""
    clean = centre(image, size)
    return np.stack([clean, *(to_uint8(add(clean / 255.0)) for _ in range(frames - 1))])


def gaussian_noise(image: np.ndarray, size: int, settings: Settings, random: np.random.Generator) -> np.ndarray:
    return noisy(image, size, settings.frames, lambda clean: clean + random.normal(0, settings.noise, clean.shape))


def shot_noise(image: np.ndarray, size: int, settings: Settings, random: np.random.Generator) -> np.ndarray:
    return noisy(
        image, size, settings.frames, lambda clean: random.poisson(clean * settings.photons) / settings.photons
    )


def motion_blur(image: np.ndarray, size: int, settings: Settings, random: np.random.Generator) -> np.ndarray:
    """Blurred along a line that turns."""
    del random
    length, sigma, degrees, frames = settings.motion
    clean = centre(image, size) / 255.0
    return np.stack([to_uint8(move_along(clean, length, sigma, (i - frames + 1) * degrees)) for i in range(frames)])


def zoom_blur(image: np.ndarray, size: int, settings: Settings, random: np.random.Generator) -> np.ndarray:
    """Frame i is the mean of the images enlarged by 1, 1.004, ..., 1 + 0.004 i."""
    del random
    total, frames = np.zeros((size, size, 3)), []
    for number in range(settings.frames):
        total += centre(affine(image, scale=1 + 0.004 * number), size)
        frames.append((total / (number + 1)).astype(np.uint8))
    return np.stack(frames)


def snow(image: np.ndarray, size: int, settings: Settings, random: np.random.Generator) -> np.ndarray:
    """The same flakes, whose direction turns."""
    deviation, zoom, length, sigma = settings.snow
    clean = centre(image, size) / 255.0
    flakes = snow_flakes(size, 0.05, deviation, zoom, 0.5, random)
    frames = []
    for number in range(settings.frames):
        falling = np.round(move_along(flakes, length, sigma, number * 4 - 150) * 255) / 255
        frames.append(to_uint8(under_snow(clean, falling, SNOW_BRIGHTNESS)))
    return np.stack(frames)


def brightness_of(image: np.ndarray, size: int, settings: Settings, random: np.random.Generator) -> np.ndarray:
    """From darker to brighter."""
    del random
    clean, middle = centre(image, size) / 255.0, settings.frames // 2
    amounts = [(i - middle) * settings.brightness for i in range(settings.frames)]
    return np.stack([to_uint8(brightness(clean, amount)) for amount in amounts])


def translate(image: np.ndarray, size: int, settings: Settings, random: np.random.Generator) -> np.ndarray:
    """Moved to the right by a pixel a frame."""
    del random
    first, frames = settings.translate
    moved = [affine(image, shift=first + number, resample=NEAREST) for number in range(frames)]
    return np.stack([centre(frame, size) for frame in moved])


def rotate(image: np.ndarray, size: int, settings: Settings, random: np.random.Generator) -> np.ndarray:
    """Turned by a degree a frame."""
    del random
    angles = [number - settings.frames // 2 for number in range(settings.frames)]
    return np.stack([centre(affine(image, angle=angle), size) for angle in angles])


def tilt(image: np.ndarray, size: int, settings: Settings, random: np.random.Generator) -> np.ndarray:
    """Turned about the vertical and the horizontal axis, as a picture on a wall that one walks by."""
    del random
    frames = []
    for number in range(settings.frames):
        angle = np.deg2rad(settings.tilt * (number - settings.frames // 2))
        frames.append(centre(perspective(image, angle), size))
    return np.stack(frames)


def scale(image: np.ndarray, size: int, settings: Settings, random: np.random.Generator) -> np.ndarray:
    """Made larger from frame to frame."""
    del random
    first, step = settings.scale
    factors = [(first + step * number) / 100 for number in range(settings.frames)]
    return np.stack([centre(affine(image, scale=factor), size) for factor in factors])


def affine(image: np.ndarray, angle: float = 0, shift: float = 0, scale: float = 1, resample=BILINEAR) -> np.ndarray:
    """Turns an image clockwise by degrees about its centre, enlarges it and moves it to the right by pixels."""
    middle, turn = image.shape[0] / 2, np.deg2rad(angle)
    # Pillow takes the way back: where a pixel of the new image was.
    a, b = np.cos(turn) / scale, np.sin(turn) / scale
    c = middle - a * (middle + shift) - b * middle
    f = middle + b * (middle + shift) - a * middle
    return transformed(image, PIL.Image.Transform.AFFINE, (a, b, c, -b, a, f), resample)


def perspective(image: np.ndarray, angle: float) -> np.ndarray:
    """What a camera sees of an image that is turned by `angle` (radians) about both axes; as large where it is flat.

    The camera is as far away as the image's diagonal is long. Coordinates are those of pixels' centres.
    """
    side = image.shape[0]
    distance, half = np.sqrt(2.0) * side, side / 2
    cos, sin = np.cos(angle), np.sin(angle)
    about_x = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    about_y = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
    # A pixel (x, y) lies at (x - half, y - half, 1), as in the official code, whose image plane is at depth 1.
    to_space = np.array([[1, 0, -half], [0, 1, -half], [0, 0, 1]])
    project = np.array([[distance, 0, half], [0, distance, half], [0, 0, 1]])
    there = project @ (about_x @ about_y @ to_space + np.outer([0, 0, distance], [0, 0, 1]))
    to_corner = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # Pillow counts from a pixel's corner
    back = np.linalg.inv(to_corner @ there @ np.linalg.inv(to_corner))
    return transformed(image, PIL.Image.Transform.PERSPECTIVE, (back / back[2, 2]).ravel()[:8], BILINEAR)


def transformed(image: np.ndarray, kind, numbers, resample) -> np.ndarray:
    """Pillow's transform of an image [M, M, 3] to the same size; black where there was nothing."""
    size = (image.shape[1], image.shape[0])
    return np.asarray(PIL.Image.fromarray(image).transform(size, kind, tuple(map(float, numbers)), resample=resample))


FUNCTIONS = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "snow": snow,
    "brightness": brightness_of,
    "translate": translate,
    "rotate": rotate,
    "tilt": tilt,
    "scale": scale,
}
