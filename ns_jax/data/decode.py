"""From a file's bytes, or an array, to the part of the image that is wanted. TensorFlow graph code.

A window is a function of an image's shape, int32 [3], to the part wanted: int32 [4], top, left, height
and width. It is known before the image is decoded, and of a JPEG nothing else is decoded.
"""

import tensorflow as tf


def decode_image(encoded, window=None):
    """Decodes a JPEG, PNG, GIF or BMP to uint8 [H, W, 3], within `window` if there is one.

    Where a JPEG's colours have a lower resolution, the outermost pixels of a window differ a little
    from those of the whole image, as in the official tpu code (noisystudent's decodes all of it).

    Args:
      encoded: the bytes, a string scalar.
      window: see the top of this module.
    """

    def decode_all():
        return tf.io.decode_image(encoded, channels=3, expand_animations=False)

    def decode_window():
        return tf.image.decode_and_crop_jpeg(encoded, window(tf.io.extract_jpeg_shape(encoded)), channels=3)

    if window is None:
        image = decode_all()
    else:
        image = tf.cond(tf.io.is_jpeg(encoded), decode_window, lambda: take(decode_all(), window))
    image.set_shape([None, None, 3])
    return image


def take(image, window=None):
    """Returns the part of an image [H, W, C] that lies in `window`, or all of it without one."""
    if window is None:
        return image
    top, left, height, width = tf.unstack(window(tf.shape(image)), num=4)
    return tf.slice(image, [top, left, 0], [height, width, image.shape[-1]])
