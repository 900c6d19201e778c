"""RandAugment's operations with Pillow's results: what their names say.

The strengths are those of the reference form; beyond magnitude 10
- Posterize keeps 1 to 8 bits: beyond magnitude 20 it changes nothing;
- Solarize inverts from a threshold of at most 256: from magnitude 10 on it changes nothing;
- everything else extrapolates.

Pillow has neither SolarizeAdd nor Cutout; of these, Invert, Equalize and Brightness the reference form is right.
"""

import math

import numpy as np
import tensorflow as tf

from ns_jax.data.ops.randaugment import reference
from ns_jax.data.ops.randaugment.reference import blend, invert_where, keep_high_bits, read_pixels, smooth, stretch


def _grey(image):
    """Pillow's mode L: ITU-R 601-2 luma in 16-bit fixed point, rounded; int32 [H, W, 1]."""
    weighted = tf.cast(image, tf.int32) * tf.constant([19595, 38470, 7471])
    return (tf.reduce_sum(weighted, -1, keepdims=True) + 0x8000) // 65536


def auto_contrast(image, magnitude, draw):
    del magnitude, draw
    return stretch(image, tf.float64)


def posterize(image, magnitude, draw):
    del draw
    return keep_high_bits(image, 8 - min(max(magnitude.bits, 1), 8))


def solarize(image, magnitude, draw):
    del draw
    return invert_where(image, image >= magnitude.threshold) if magnitude.threshold < 256 else image


def color(image, magnitude, draw):
    del draw
    return blend(tf.tile(_grey(image), [1, 1, 3]), image, magnitude.factor)


def contrast(image, magnitude, draw):
    del draw
    mean = tf.reduce_mean(tf.cast(_grey(image), tf.float64))
    return blend(tf.floor(mean + 0.5), image, magnitude.factor)


def sharpness(image, magnitude, draw):
    del draw
    return blend(smooth(image, rounding=0.5), image, magnitude.factor)


def _transform(image, matrix, draw):
    """Pillow's `Image.transform(AFFINE)`, nearest: output (x, y) reads input (a x + b y + c, d x + e y + f).

    Coordinates are those of pixel centres (the first is 0.5), in 16-bit fixed point.

    matrix: function of the sign, 1.0 or -1.0 with probability 1/2 each, to [a, b, c, d, e, f].
    """
    height, width = image.shape[:2]
    y, x = np.arange(height)[:, None], np.arange(width)[None, :]
    maps = []
    for sign in (1.0, -1.0):
        a, b, c, d, e, f = matrix(sign)
        fixed = np.floor(np.array([a, b, c + a * 0.5 + b * 0.5, d, e, f + d * 0.5 + e * 0.5]) * 65536.0 + 0.5)
        a, b, c, d, e, f = fixed.astype(np.int64)
        column, row = (a * x + b * y + c) // 65536, (d * x + e * y + f) // 65536
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        maps.append(np.where(inside, row * width + column, height * width))
    return read_pixels(image, tf.constant(np.stack(maps), tf.int32), draw)


def rotate(image, magnitude, draw):
    """As `Image.rotate`, about the centre."""
    y, x = (side / 2 for side in image.shape[:2])
    angle = math.radians(magnitude.degrees % 360.0)

    def matrix(sign):
        cos, sin = round(math.cos(angle), 15), sign * round(math.sin(angle), 15)
        return [cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y]

    return _transform(image, matrix, draw)


def shear_x(image, magnitude, draw):
    """About the top-left corner; so is ShearY."""
    return _transform(image, lambda sign: [1.0, sign * magnitude.shear, 0.0, 0.0, 1.0, 0.0], draw)


def shear_y(image, magnitude, draw):
    return _transform(image, lambda sign: [1.0, 0.0, 0.0, sign * magnitude.shear, 1.0, 0.0], draw)


def translate_x(image, magnitude, draw):
    return _transform(image, lambda sign: [1.0, 0.0, sign * magnitude.translation, 0.0, 1.0, 0.0], draw)


def translate_y(image, magnitude, draw):
    return _transform(image, lambda sign: [1.0, 0.0, 0.0, 0.0, 1.0, sign * magnitude.translation], draw)


OPERATIONS = reference.OPERATIONS | {
    "AutoContrast": auto_contrast,
    "Rotate": rotate,
    "Posterize": posterize,
    "Solarize": solarize,
    "Color": color,
    "Contrast": contrast,
    "Sharpness": sharpness,
    "ShearX": shear_x,
    "ShearY": shear_y,
    "TranslateX": translate_x,
    "TranslateY": translate_y,
}
