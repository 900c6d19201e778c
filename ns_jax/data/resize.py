"""Bicubic resize. TensorFlow graph code."""

import tensorflow as tf


def resize_bicubic(image, size: int):
    """[H, W, 3] of any dtype to float32 [size, size, 3], neither clipped nor rounded.

    The official code's kernel is TensorFlow 1's (no half-pixel centres, a = -0.75), not the one
    that `tf.image.resize` applies today.
    """
    resized = tf.raw_ops.ResizeBicubic(images=tf.cast(image, tf.float32)[None], size=[size, size])[0]
    resized.set_shape([size, size, 3])
    return resized


def resize_to_uint8(image, size: int):
    """[H, W, 3] of any dtype to uint8 [size, size, 3], clipped and truncated."""
    return tf.cast(tf.clip_by_value(resize_bicubic(image, size), 0.0, 255.0), tf.uint8)
