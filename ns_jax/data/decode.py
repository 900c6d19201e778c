"""From a file's bytes, or an array, to the part of the image that is wanted. TensorFlow graph code.

A window is a function of an image's shape, int32 [3], to the part wanted: int32 [4], top, left, height
and width. It is known before the image is decoded, and of a JPEG nothing else is.
"""

import tensorflow as tf


def decode_image(encoded, window=None):
    """The bytes of a JPEG, PNG, GIF or BMP to uint8 [H, W, 3], within `window` if there is one.

    Where a JPEG's colours have a lower resolution, the outermost pixels of a window differ a little
    from those of the whole image, as in the official code.
    """
    whole = lambda: tf.io.decode_image(encoded, channels=3, expand_animations=False)
    if window is None:
        image = whole()
    else:
        image = tf.cond(
            tf.io.is_jpeg(encoded),
            lambda: tf.image.decode_and_crop_jpeg(encoded, window(tf.io.extract_jpeg_shape(encoded)), channels=3),
            lambda: take(whole(), window),
        )
    image.set_shape([None, None, 3])
    return image


def take(image, window=None):
    """[H, W, 3] to what lies within `window`, if there is one."""
    if window is None:
        return image
    top, left, height, width = tf.unstack(window(tf.shape(image)), num=4)
    return tf.slice(image, [top, left, 0], [height, width, 3])
