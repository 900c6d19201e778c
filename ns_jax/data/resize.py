"""Resize as the official code does it. TensorFlow graph code."""

import tensorflow as tf

from ns_jax.data.views import View

KERNELS = {"bicubic": tf.raw_ops.ResizeBicubic, "bilinear": tf.raw_ops.ResizeBilinear}


def resize(image, view: View):
    """[H, W, 3] of any dtype to float32 [size, size, 3], neither clipped nor rounded.

    The official code's kernels are TensorFlow 1's (no half-pixel centres, bicubic with a = -0.75, none wider where an
    image shrinks), not those that `tf.image.resize` applies today.
    """
    size = view.size
    resized = KERNELS[view.interpolation](images=tf.cast(image, tf.float32)[None], size=[size, size])[0]
    resized.set_shape([size, size, 3])
    return resized


def resize_to_uint8(image, view: View):
    """[H, W, 3] of any dtype to uint8 [size, size, 3], clipped and truncated."""
    return tf.cast(tf.clip_by_value(resize(image, view), 0.0, 255.0), tf.uint8)
