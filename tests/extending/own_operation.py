"""An augmentation of one's own: random brightness, as TensorFlow graph code."""

import tensorflow as tf


def brightness(image, seed, augmentation):
    """Scales an image by a random factor of 0.7 to 1.3.

    Named in a config as an entry of augment: 'tests.extending.own_operation:brightness'.

    Args:
      image: uint8 [H, W, 3].
      seed: int64 [2]; all randomness comes from it.
      augmentation: settings of the built-in operations.
    """
    del augmentation
    factor = tf.random.stateless_uniform([], seed, 0.7, 1.3)
    return tf.cast(tf.clip_by_value(tf.cast(image, tf.float32) * factor, 0.0, 255.0), tf.uint8)
