"""Operation 'pad4'. TensorFlow graph code."""

import tensorflow as tf

from ns_jax.data.ops.seeds import simple_draws


def pad4(image, seed, augmentation):
    """Reflect-pads an image [H, W, C] by 4 pixels and crops H x W at random, one of 9 x 9 places."""
    del augmentation
    height, width, channels = image.shape
    padded = tf.pad(image, [[4, 4], [4, 4], [0, 0]], mode="REFLECT")
    top_left = tf.cast(simple_draws(seed)[:2] * 9.0, tf.int32)
    return tf.slice(padded, [top_left[0], top_left[1], 0], [height, width, channels])
