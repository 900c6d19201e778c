"""RandAugment's operations as the official Noisy Student code computes them, bug for bug.

Every operation takes and returns one uint8 image [H, W, 3] of static shape; its randomness is `draw`, two
uniform numbers, float32 in [0, 1). The quirks of the official code are kept, because the published recipe
reaches all of them at magnitude 27: Contrast blends with pixels / 256 instead of the mean grey level,
Solarize's threshold wraps at 256, Posterize's shift is clamped to 7, blends truncate instead of
rounding. Magnitudes beyond 10 extrapolate.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable

import tensorflow as tf

from ns_jax.data.ops.cutout import FILL, cut_out_square

MAX_LEVEL = 10.0


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


def read_pixels(image, maps, draw):
    """Moves pixels: with probability 1/2 each as the first or the second map says.

    maps: int32 [2, H, W], which pixel of the image to read, H * W for FILL.
    """
    with_fill = tf.concat([tf.reshape(image, [-1, 3]), tf.fill([1, 3], tf.constant(FILL, tf.uint8))], 0)
    return tf.gather(with_fill, maps[tf.cast(draw[0] >= 0.5, tf.int32)])


def _project(image, matrix, draw):
    """Output pixel (x, y) reads input (a x + b y + c, d x + e y + f), nearest, FILL outside.

    matrix: function of the sign, 1.0 or -1.0 with probability 1/2 each, to [a, b, c, d, e, f].
    """
    height, width = image.shape[:2]
    # Once, when the graph is built, on the pixels' numbers: moving an image is then one gather.
    with tf.init_scope():
        numbers = tf.reshape(tf.range(height * width), [1, height, width, 1])
        maps = tf.concat(
            [
                tf.raw_ops.ImageProjectiveTransformV3(
                    images=numbers,
                    transforms=tf.reshape(tf.stack([*matrix(sign), 0.0, 0.0]), [1, 8]),
                    output_shape=[height, width],
                    fill_value=float(height * width),
                    interpolation="NEAREST",
                    fill_mode="CONSTANT",
                )[..., 0]
                for sign in (1.0, -1.0)
            ],
            0,
        )
    return read_pixels(image, maps, draw)


def stretch(image, dtype):
    """The darkest value of each channel to 0, the brightest to 255, clipped and truncated; computed in `dtype`.

    A channel of one value stays as it is.
    """
    height, width = image.shape[:2]
    low, high = (tf.cast(reduce(image, (0, 1)), dtype) for reduce in (tf.reduce_min, tf.reduce_max))
    several = high > low
    scale = tf.where(several, 255.0 / tf.where(several, high - low, 1.0), 1.0)
    offset = tf.where(several, -low * scale, 0.0)
    # A row of pixels is one axis: broadcasting along three channels is slow.
    stretched = tf.cast(tf.reshape(image, [height, width * 3]), dtype) * tf.tile(scale, [width]) + tf.tile(
        offset, [width]
    )
    return tf.reshape(tf.cast(tf.clip_by_value(stretched, 0.0, 255.0), tf.uint8), image.shape)


def auto_contrast(image, magnitude, draw):
    del magnitude, draw
    return stretch(image, tf.float32)


def equalize(image, magnitude, draw):
    del magnitude, draw
    height, width = image.shape[:2]
    # Each channel counts in 256 bins of its own. A row of pixels is one axis: broadcasting along three is slow.
    channels = tf.tile(tf.constant([0, 256, 512]), [width])
    values = tf.cast(tf.reshape(image, [height, width * 3]), tf.int32) + channels
    histogram = tf.reshape(tf.math.bincount(tf.reshape(values, [-1]), minlength=768, maxlength=768), [3, 256])
    brightest = tf.reduce_max(tf.where(histogram > 0, tf.range(256), 0), -1)
    step = (height * width - tf.gather(histogram, brightest, batch_dims=1)[:, None]) // 255
    safe_step = tf.maximum(step, 1)
    table = tf.clip_by_value((tf.cumsum(histogram, -1, exclusive=True) + safe_step // 2) // safe_step, 0, 255)
    table = tf.cast(tf.where(step > 0, table, tf.range(256)), tf.uint8)
    return tf.reshape(tf.gather(tf.reshape(table, [-1]), values), image.shape)


def invert(image, magnitude, draw):
    del magnitude, draw
    return 255 - image


def rotate(image, magnitude, draw):
    """By +-30 degrees at magnitude 10, about ((w-1)/2, (h-1)/2)."""
    y, x = ((side - 1) / 2 for side in image.shape[:2])

    def matrix(sign):
        angle = tf.constant(sign * math.radians(magnitude.degrees))
        cos, sin = tf.cos(angle), tf.sin(angle)
        return [cos, -sin, x - (cos * x - sin * y), sin, cos, y - (sin * x + cos * y)]

    return _project(image, matrix, draw)


def keep_high_bits(image, shift: int):
    """Clears the lowest `shift` bits, 0..7, of every value."""
    shift = tf.cast(shift, tf.uint8)
    return tf.bitwise.left_shift(tf.bitwise.right_shift(image, shift), shift)


def posterize(image, magnitude, draw):
    del draw
    bits = magnitude.bits
    return keep_high_bits(image, min(8 - bits, 7) if bits <= 8 else 7)


def invert_where(image, chosen):
    """255 - value where `chosen`, bool [H, W, 3]."""
    return tf.bitwise.bitwise_xor(image, 255 * tf.cast(chosen, tf.uint8))


def solarize(image, magnitude, draw):
    del draw
    return invert_where(image, image >= magnitude.threshold % 256)


def solarize_add(image, magnitude, draw):
    del draw
    room = tf.minimum(tf.constant(min(int(magnitude.fraction * 110), 255), tf.uint8), 255 - image)
    return image + tf.cast(image < 128, tf.uint8) * room


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
    height, width = image.shape[:2]
    # Added one by one in a fixed order: a convolution rounds differently from one processor to the next.
    wide = tf.cast(tf.reshape(image, [height, width * 3]), tf.float32)
    once, five = (wide * (tf.constant(weight, tf.float32) / 13.0) for weight in (1.0, 5.0))
    rows, columns = height - 2, (width - 2) * 3
    mean = 0.0
    for y, x in itertools.product(range(3), range(3)):
        mean += (five if (y, x) == (1, 1) else once)[y : y + rows, 3 * x : 3 * x + columns]
    mean = tf.cast(tf.clip_by_value(mean + rounding, 0.0, 255.0), tf.uint8)
    flat = tf.reshape(image, [height, width * 3])
    middle = tf.concat([flat[1:-1, :3], mean, flat[1:-1, -3:]], 1)
    return tf.reshape(tf.concat([flat[:1], middle, flat[-1:]], 0), image.shape)


def sharpness(image, magnitude, draw):
    del draw
    return blend(smooth(image, rounding=0.0), image, magnitude.factor)


def shear_x(image, magnitude, draw):
    return _project(image, lambda sign: [1.0, sign * magnitude.shear, 0.0, 0.0, 1.0, 0.0], draw)


def shear_y(image, magnitude, draw):
    return _project(image, lambda sign: [1.0, 0.0, 0.0, sign * magnitude.shear, 1.0, 0.0], draw)


def translate_x(image, magnitude, draw):
    return _project(image, lambda sign: [1.0, 0.0, sign * magnitude.translation, 0.0, 1.0, 0.0], draw)


def translate_y(image, magnitude, draw):
    return _project(image, lambda sign: [1.0, 0.0, 0.0, 0.0, 1.0, sign * magnitude.translation], draw)


def cutout(image, magnitude, draw):
    return cut_out_square(image, magnitude.cutout, draw)


OPERATIONS: dict[str, Callable] = {
    "AutoContrast": auto_contrast,
    "Equalize": equalize,
    "Invert": invert,
    "Rotate": rotate,
    "Posterize": posterize,
    "Solarize": solarize,
    "Color": color,
    "Contrast": contrast,
    "Brightness": brightness,
    "Sharpness": sharpness,
    "ShearX": shear_x,
    "ShearY": shear_y,
    "TranslateX": translate_x,
    "TranslateY": translate_y,
    "Cutout": cutout,
    "SolarizeAdd": solarize_add,
}
