import numpy as np
import tensorflow as tf

from ns_jax.configs import mnist5k
from ns_jax.data.preprocess import train_image


def test_half_of_the_images_are_flipped():
    config = mnist5k.get_config()
    config.crop, config.flip, config.noise.randaugment_ops = "none", True, 0
    image = tf.constant(np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8))
    view = tf.function(lambda seed: train_image(image, config, 6, tf.stack([tf.constant(1, tf.int64), seed])))
    flipped = 0
    for seed in tf.range(200, dtype=tf.int64):
        found = view(seed)
        is_flipped = bool(tf.reduce_any(found != image))
        np.testing.assert_array_equal(found, image[:, ::-1] if is_flipped else image)
        flipped += is_flipped
    assert 70 < flipped < 130  # beyond four standard deviations
