"""RandAugment's operations with Pillow's results: what their names say.

The strengths are those of the reference form; beyond magnitude 10
- Posterize keeps 1 to 8 bits: beyond magnitude 20 it changes nothing;
- Solarize inverts from a threshold of at most 256: from magnitude 10 on it changes nothing;
- everything else extrapolates.

Pillow has neither SolarizeAdd nor Cutout; of these, Invert, Equalize and Brightness the reference form is right.
"""

import math

import tensorflow as tf

from ns_jax.data import randaugment_reference as reference
from ns_jax.data.randaugment_reference import FILL, blend, keep_high_bits, smooth


def _grey(image):
    """Pillow's mode L: ITU-R 601-2 luma in 16-bit fixed point, rounded; int32 [H, W, 1]."""
    weighted = tf.cast(image, tf.int32) * tf.constant([19595, 38470, 7471])
    return (tf.reduce_sum(weighted, -1, keepdims=True) + 0x8000) // 65536


def auto_contrast(image, magnitude, draw):
    del magnitude, draw
    wide = tf.cast(image, tf.float64)
    low, high = tf.reduce_min(wide, (0, 1)), tf.reduce_max(wide, (0, 1))
    scale = 255.0 / tf.where(high > low, high - low, 255.0)
    stretched = tf.clip_by_value(wide * scale + -low * scale, 0.0, 255.0)
    return tf.where(high > low, tf.cast(stretched, tf.uint8), image)


def posterize(image, magnitude, draw):
    del draw
    return keep_high_bits(image, 8 - min(max(magnitude.bits, 1), 8))


def solarize(image, magnitude, draw):
    del draw
    return tf.where(tf.cast(image, tf.int32) < magnitude.threshold, image, 255 - image)


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


def _transform(image, matrix):
    """Pillow's `Image.transform(AFFINE)`, nearest: output (x, y) reads input (a x + b y + c, d x + e y + f).

    Coordinates are those of pixel centres (the first is 0.5), in 16-bit fixed point.
    """
    a, b, c, d, e, f = matrix
    fixed = tf.floor(tf.stack([a, b, c + a * 0.5 + b * 0.5, d, e, f + d * 0.5 + e * 0.5]) * 65536.0 + 0.5)
    a, b, c, d, e, f = tf.unstack(tf.cast(fixed, tf.int32))
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    y, x = tf.range(height)[:, None], tf.range(width)[None, :]
    column, row = (a * x + b * y + c) // 65536, (d * x + e * y + f) // 65536
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    read = tf.gather(tf.reshape(image, [-1, 3]), tf.where(inside, row * width + column, 0))
    return tf.where(inside[..., None], read, tf.constant(FILL, tf.uint8))


def _signed(amount: float, draw):
    return reference.signed(tf.constant(amount, tf.float64), draw)


def rotate(image, magnitude, draw):
    """As `Image.rotate`, about the centre."""
    angle = math.radians(magnitude.degrees % 360.0)
    cos, sin = round(math.cos(angle), 15), _signed(round(math.sin(angle), 15), draw)
    size = tf.cast(tf.shape(image)[:2], tf.float64)
    y, x = size[0] / 2, size[1] / 2
    return _transform(image, [cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y])


def shear_x(image, magnitude, draw):
    """About the top-left corner; so is ShearY."""
    return _transform(image, [1.0, _signed(magnitude.shear, draw), 0.0, 0.0, 1.0, 0.0])


def shear_y(image, magnitude, draw):
    return _transform(image, [1.0, 0.0, 0.0, _signed(magnitude.shear, draw), 1.0, 0.0])


def translate_x(image, magnitude, draw):
    return _transform(image, [1.0, 0.0, _signed(magnitude.translation, draw), 0.0, 1.0, 0.0])


def translate_y(image, magnitude, draw):
    return _transform(image, [1.0, 0.0, 0.0, 0.0, 1.0, _signed(magnitude.translation, draw)])


OPS = reference.OPS | {
    "AutoContrast": auto_contrast, "Rotate": rotate, "Posterize": posterize, "Solarize": solarize,
    "Color": color, "Contrast": contrast, "Sharpness": sharpness, "ShearX": shear_x, "ShearY": shear_y,
    "TranslateX": translate_x, "TranslateY": translate_y,
}  # fmt: skip
