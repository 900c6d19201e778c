"""Operations 'flip', 'flip_vertical' and 'quarter_turns'. TensorFlow graph code."""

import tensorflow as tf

from ns_jax.data.ops.seeds import FLIP_VERTICAL, QUARTER_TURNS, fold_in, simple_draws


def flip(image, seed, augmentation):
    """Mirrors an image [H, W, C] left to right with probability 1/2."""
    del augmentation
    # Neither tf.where nor a slice with step -1, which take 20 times as long on uint8.
    return tf.cond(simple_draws(seed)[2] < 0.5, lambda: image, lambda: tf.image.flip_left_right(image))


def flip_vertical(image, seed, augmentation):
    """Mirrors an image [H, W, C] upside down with probability 1/2."""
    del augmentation
    draw = tf.random.stateless_uniform([], fold_in(seed, FLIP_VERTICAL))
    return tf.cond(draw < 0.5, lambda: image, lambda: tf.image.flip_up_down(image))


def quarter_turns(image, seed, augmentation):
    """Turns a square image [H, H, C] by 0, 90, 180 or 270 degrees, each with probability 1/4.

    Raises:
      ValueError: the image is not square.
    """
    del augmentation
    height, width, _ = image.shape
    if height != width:
        raise ValueError(f"only a square can be turned, not {height} x {width} pixels")
    turns = tf.random.stateless_uniform([], fold_in(seed, QUARTER_TURNS), maxval=4, dtype=tf.int32)
    return tf.ensure_shape(tf.image.rot90(image, turns), image.shape)
