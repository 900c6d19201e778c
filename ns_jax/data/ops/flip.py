"""Operation 'flip'. TensorFlow graph code."""

import tensorflow as tf

from ns_jax.data.ops.seeds import simple_draws


def flip(image, seed, augmentation):
    """Mirrors an image [H, W, C] left to right with probability 1/2."""
    del augmentation
    # Neither tf.where nor a slice with step -1, which take 20 times as long on uint8.
    return tf.cond(simple_draws(seed)[2] < 0.5, lambda: image, lambda: tf.image.flip_left_right(image))
