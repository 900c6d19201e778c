"""Crops: windows of an image, see ns_jax/data/decode.py. TensorFlow graph code."""

import tensorflow as tf

from ns_jax.data.ops.seeds import RANDOM_AREA, fold_in
from ns_jax.data.views import View


def center_window(view: View, seed=None, augmentation=None):
    """The window of the model's centre crop: a square of size / (size + padding) of the shorter side."""
    del seed, augmentation
    fraction = view.size / (view.size + view.crop_padding)

    def window(shape):
        height, width = shape[0], shape[1]
        shorter = tf.cast(tf.minimum(height, width), tf.float32)
        side = tf.maximum(tf.cast(fraction * shorter, tf.int32), 1)
        return tf.stack([(height - side + 1) // 2, (width - side + 1) // 2, side, side])

    return window


def random_area_window(view: View, seed, augmentation):
    """The window of a random share of the area, aspect 3/4 to 4/3; the centre crop's if 10 attempts give none.

    Args:
      view: of the centre crop.
      seed: int64 [2], the image's.
      augmentation: its `crop_min_area`, officially 0.08, is the smallest share.
    """
    seed = fold_in(seed, RANDOM_AREA)

    def window(shape):
        begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
            shape,
            tf.zeros([1, 0, 4]),
            seed,
            min_object_covered=0.1,
            aspect_ratio_range=(3 / 4, 4 / 3),
            area_range=(augmentation.crop_min_area, 1.0),
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        is_whole = tf.reduce_all(extent[:2] == shape[:2])  # all attempts failed
        return tf.where(is_whole, center_window(view)(shape), tf.concat([begin[:2], extent[:2]], 0))

    return window
