"""From a file's bytes, or an array, to the part of the image that is wanted. TensorFlow graph code.

A window is a function of an image's shape, int32 [3], to the part wanted: int32 [4], top, left, height
and width. It is known before the image is decoded, and of a JPEG nothing else is decoded.
"""

import tensorflow as tf

from ns_jax.data import pillow
from ns_jax.data.image_size import header_of, little_endian, refuse_too_large, starts_with

# Bytes by which the formats that Pillow decodes are known, and where they are: WebP, TIFF in both byte orders, AVIF.
_FOR_PILLOW = ((0, b"RIFF"), (0, b"II*\0"), (0, b"MM\0*"), (4, b"ftypavif"), (4, b"ftypavis"))


def decode_image(encoded, window=None, exif_orientation: bool = False):
    """Decodes an image to uint8 [H, W, 3], within `window` if there is one.

    TensorFlow decodes JPEG, PNG, GIF and BMP, and Pillow WebP, TIFF, AVIF and BMPs with a palette
    (`ns_jax/data/pillow.py`). Of several pictures in a file it is the first, alpha is left out, and of 16 bits the
    upper 8 are taken.

    Where a JPEG's colours have a lower resolution, the outermost pixels of a window differ a little
    from those of the whole image, as in the official tpu code (noisystudent's decodes all of it).

    Args:
      encoded: the bytes, a string scalar.
      window: see the top of this module.
      exif_orientation: whether the image is turned first as its EXIF data say.
    """
    if not exif_orientation:
        image = _decode_window(encoded, window)
    else:
        orientation = tf.numpy_function(pillow.orientation, [_as_numbers(encoded)], tf.int64, stateful=False)
        orientation.set_shape([])
        image = tf.cond(
            orientation == pillow.UPRIGHT,
            lambda: _decode_window(encoded, window, exif_orientation),
            lambda: take(upright(_decode_all(encoded), orientation), window),
        )
    image.set_shape([None, None, 3])
    return image


def _decode_window(encoded, window, exif_orientation: bool = False):
    """As `decode_image`; only what Pillow decodes is turned."""
    if window is None:
        return _decode_all(encoded, exif_orientation)

    def decode_part():
        return tf.image.decode_and_crop_jpeg(
            refuse_too_large(encoded), window(tf.io.extract_jpeg_shape(encoded)), channels=3
        )

    return tf.cond(tf.io.is_jpeg(encoded), decode_part, lambda: take(_decode_all(encoded, exif_orientation), window))


def _decode_all(encoded, exif_orientation: bool = False):
    """As `_decode_window`, the whole image."""

    def through_pillow():
        decode = lambda content: pillow.decode(content, exif_orientation)
        image = tf.numpy_function(decode, [_as_numbers(encoded)], tf.uint8, stateful=False)
        image.set_shape([None, None, 3])
        return image

    def through_tensorflow():
        image = tf.io.decode_image(refuse_too_large(encoded), channels=3, expand_animations=False)
        image.set_shape([None, None, 3])
        return image

    return tf.cond(_is_for_pillow(encoded), through_pillow, through_tensorflow)


def _as_numbers(encoded):
    """The bytes as uint8 [N]. Outside of graphs, NumPy would take a string and cut off the zeros at its end."""
    return tf.io.decode_raw(encoded, tf.uint8)


def _is_for_pillow(encoded):
    """Whether bytes begin as a format that Pillow decodes, a boolean scalar."""
    header = header_of(encoded)
    is_for_pillow = [starts_with(header, start, at) for at, start in _FOR_PILLOW]
    return tf.reduce_any([*is_for_pillow, _is_unusual_bmp(header)])


def _is_unusual_bmp(header):
    """Whether it is a BMP with a palette, compressed, or with another header: TensorFlow takes indices for grey."""
    header_size, bits, compression = (little_endian(header, at, size) for at, size in ((14, 4), (28, 2), (30, 4)))
    is_usual = (header_size >= 40) & ((bits == 24) | (bits == 32)) & ((compression == 0) | (compression == 3))
    return starts_with(header, b"BM") & ~is_usual


def upright(image, orientation):
    """Turns an image [H, W, 3] that has an EXIF orientation, an int64 scalar of 1 to 8."""
    image = tf.cond(orientation >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    is_mirrored = tf.reduce_any(orientation == tf.constant([2, 3, 6, 7], tf.int64))
    is_upside_down = tf.reduce_any(orientation == tf.constant([3, 4, 7, 8], tf.int64))
    image = tf.cond(is_mirrored, lambda: tf.reverse(image, [1]), lambda: image)
    return tf.cond(is_upside_down, lambda: tf.reverse(image, [0]), lambda: image)


def take(image, window=None):
    """Returns the part of an image [H, W, C] that lies in `window`, or all of it without one."""
    if window is None:
        return image
    top, left, height, width = tf.unstack(window(tf.shape(image)), num=4)
    return tf.slice(image, [top, left, 0], [height, width, image.shape[-1]])
