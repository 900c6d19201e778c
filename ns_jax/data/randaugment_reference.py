"""RandAugment's operations as the official Noisy Student code computes them, bug for bug.

Every operation takes and returns one uint8 image [H, W, 3]; its randomness is `draw`, two uniform
numbers, float32 in [0, 1). The quirks of the official code are kept, because the published recipe
reaches all of them at magnitude 27: Contrast blends with pixels / 256 instead of the mean grey level,
Solarize's threshold wraps at 256, Posterize's shift is clamped to 7, blends truncate instead of
rounding. Magnitudes beyond 10 extrapolate.
"""

import dataclasses
import math
from collections.abc import Callable

import tensorflow as tf

MAX_LEVEL = 10.0
FILL = 128


@dataclasses.dataclass(frozen=True)
class Magnitude:
    """How strong the operations are; pixel amounts depend on the image's resolution.

    The official constants are 100 px (translation) and 40 px (cutout), and an eighth of the side
    for its 32-px images, which here holds up to 64 px.
    """

    value: float
    resolution: int

    @property
    def fraction(self) -> float:
        return self.value / MAX_LEVEL

    @property
    def factor(self) -> float:
        """Of the four blends: 1.0 (the identity) at magnitude 5."""
        return self.fraction * 1.8 + 0.1

    @property
    def bits(self) -> int:
        """That Posterize keeps; above 8 beyond magnitude 20."""
        return int(self.fraction * 4)

    @property
    def threshold(self) -> int:
        """From which on Solarize inverts; above 255 from magnitude 10 on."""
        return int(self.fraction * 256)

    @property
    def degrees(self) -> float:
        return self.fraction * 30.0

    @property
    def shear(self) -> float:
        """Pixels in x per pixel in y, or the reverse."""
        return self.fraction * 0.3

    @property
    def translation(self) -> float:
        return self.fraction * (100.0 if self.resolution > 64 else self.resolution / 8)

    @property
    def cutout(self) -> int:
        """Half the side of the square, in pixels."""
        return int(self.fraction * (40.0 if self.resolution > 64 else self.resolution / 8))


def blend(degenerate, image, factor: float):
    """degenerate + factor * (image - degenerate), clipped and truncated."""
    if factor == 1.0:
        return image
    start = tf.cast(degenerate, tf.float32)
    mixed = start + factor * (tf.cast(image, tf.float32) - start)
    return tf.cast(tf.clip_by_value(mixed, 0.0, 255.0), tf.uint8)


def _grey(image):
    return tf.image.rgb_to_grayscale(image)


def _project(image, matrix):
    """Output pixel (x, y) reads input (a x + b y + c, d x + e y + f), nearest, FILL outside."""
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None], transforms=tf.reshape(tf.stack([*matrix, 0.0, 0.0]), [1, 8]),
        output_shape=tf.shape(image)[:2], fill_value=float(FILL), interpolation="NEAREST",
        fill_mode="CONSTANT")[0]  # fmt: skip


def signed(amount: float, draw):
    """`amount` or its negative, each with probability 1/2."""
    return tf.where(draw[0] < 0.5, amount, -amount)


def auto_contrast(image, magnitude, draw):
    del magnitude, draw
    low = tf.cast(tf.reduce_min(image, (0, 1)), tf.float32)
    high = tf.cast(tf.reduce_max(image, (0, 1)), tf.float32)
    scale = 255.0 / tf.where(high > low, high - low, 255.0)
    stretched = tf.cast(image, tf.float32) * scale - low * scale
    stretched = tf.cast(tf.clip_by_value(stretched, 0.0, 255.0), tf.uint8)
    return tf.where(high > low, stretched, image)


def _equalize_channel(channel):
    histogram = tf.math.bincount(tf.cast(tf.reshape(channel, [-1]), tf.int32), minlength=256)
    filled = tf.boolean_mask(histogram, histogram > 0)
    step = (tf.reduce_sum(filled) - filled[-1]) // 255
    safe_step = tf.maximum(step, 1)
    table = (tf.cumsum(histogram, exclusive=True) + safe_step // 2) // safe_step
    equalized = tf.gather(tf.clip_by_value(table, 0, 255), tf.cast(channel, tf.int32))
    return tf.where(step > 0, tf.cast(equalized, tf.uint8), channel)


def equalize(image, magnitude, draw):
    del magnitude, draw
    return tf.stack([_equalize_channel(image[..., c]) for c in range(3)], axis=-1)


def invert(image, magnitude, draw):
    del magnitude, draw
    return 255 - image


def rotate(image, magnitude, draw):
    """By +-30 degrees at magnitude 10, about ((w-1)/2, (h-1)/2)."""
    angle = signed(math.radians(magnitude.degrees), draw)
    size = tf.cast(tf.shape(image)[:2] - 1, tf.float32)
    y, x = size[0] / 2, size[1] / 2
    cos, sin = tf.cos(angle), tf.sin(angle)
    return _project(image, [cos, -sin, x - (cos * x - sin * y), sin, cos, y - (sin * x + cos * y)])


def keep_high_bits(image, shift: int):
    """Clears the lowest `shift` bits, 0..7, of every value."""
    shift = tf.cast(shift, tf.uint8)
    return tf.bitwise.left_shift(tf.bitwise.right_shift(image, shift), shift)


def posterize(image, magnitude, draw):
    del draw
    bits = magnitude.bits
    return keep_high_bits(image, min(8 - bits, 7) if bits <= 8 else 7)


def solarize(image, magnitude, draw):
    del draw
    return tf.where(image < magnitude.threshold % 256, image, 255 - image)


def solarize_add(image, magnitude, draw):
    del draw
    brighter = tf.minimum(tf.cast(image, tf.int32) + int(magnitude.fraction * 110), 255)
    return tf.where(image < 128, tf.cast(brighter, tf.uint8), image)


def color(image, magnitude, draw):
    del draw
    return blend(tf.tile(_grey(image), [1, 1, 3]), image, magnitude.factor)


def contrast(image, magnitude, draw):
    del draw
    pixels = tf.cast(tf.reduce_prod(tf.shape(image)[:2]), tf.float32)
    level = tf.cast(tf.clip_by_value(pixels / 256.0, 0.0, 255.0), tf.uint8)
    return blend(tf.fill(tf.shape(image), level), image, magnitude.factor)


def brightness(image, magnitude, draw):
    del draw
    return blend(tf.zeros_like(image), image, magnitude.factor)


def smooth(image, rounding: float):
    """Mean of 3 x 3 pixels, the middle one counted 5 times, plus `rounding`, truncated.

    The outermost pixels stay as they are.
    """
    kernel = tf.constant([[1, 1, 1], [1, 5, 1], [1, 1, 1]], tf.float32) / 13.0
    kernel = tf.tile(kernel[..., None, None], [1, 1, 3, 1])
    mean = tf.nn.depthwise_conv2d(
        tf.cast(image, tf.float32)[None], kernel, [1, 1, 1, 1], padding="VALID")[0]  # fmt: skip
    mean = tf.cast(tf.clip_by_value(mean + rounding, 0.0, 255.0), tf.uint8)
    border = [[1, 1], [1, 1], [0, 0]]
    inside = tf.pad(tf.ones_like(mean, tf.bool), border)
    return tf.where(inside, tf.pad(mean, border), image)


def sharpness(image, magnitude, draw):
    del draw
    return blend(smooth(image, rounding=0.0), image, magnitude.factor)


def shear_x(image, magnitude, draw):
    return _project(image, [1.0, signed(magnitude.shear, draw), 0.0, 0.0, 1.0, 0.0])


def shear_y(image, magnitude, draw):
    return _project(image, [1.0, 0.0, 0.0, signed(magnitude.shear, draw), 1.0, 0.0])


def translate_x(image, magnitude, draw):
    return _project(image, [1.0, 0.0, signed(magnitude.translation, draw), 0.0, 1.0, 0.0])


def translate_y(image, magnitude, draw):
    return _project(image, [1.0, 0.0, 0.0, 0.0, 1.0, signed(magnitude.translation, draw)])


def cut_out_square(image, half_side: int, draw):
    """Fills a square with FILL; its centre is a uniformly drawn pixel, its rest may lie outside."""
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    row = tf.cast(draw[0] * tf.cast(height, tf.float32), tf.int32)
    column = tf.cast(draw[1] * tf.cast(width, tf.float32), tf.int32)
    rows, columns = tf.range(height), tf.range(width)
    in_rows = (rows >= row - half_side) & (rows < row + half_side)
    in_columns = (columns >= column - half_side) & (columns < column + half_side)
    inside = (in_rows[:, None] & in_columns[None, :])[..., None]
    return tf.where(inside, tf.constant(FILL, tf.uint8), image)


def cutout(image, magnitude, draw):
    return cut_out_square(image, magnitude.cutout, draw)


OPS: dict[str, Callable] = {
    "AutoContrast": auto_contrast, "Equalize": equalize, "Invert": invert, "Rotate": rotate,
    "Posterize": posterize, "Solarize": solarize, "Color": color, "Contrast": contrast,
    "Brightness": brightness, "Sharpness": sharpness, "ShearX": shear_x, "ShearY": shear_y,
    "TranslateX": translate_x, "TranslateY": translate_y, "Cutout": cutout,
    "SolarizeAdd": solarize_add,
}  # fmt: skip
