"""Operation 'cutout' (DeVries and Taylor, 2017). TensorFlow graph code."""

import tensorflow as tf

from ns_jax.data.ops.seeds import simple_draws

FILL = 128  # of pixels that are cut out, or that come from outside of the image


def cut_out_square(image, half_side: int, draw):
    """Fills a square of uint8 [H, W, 3] with FILL; its centre is a uniformly drawn pixel, its rest may lie outside.

    Args:
      image: of static shape.
      half_side: in pixels.
      draw: float32 [2] in [0, 1), place of the centre.
    """
    height, width = image.shape[:2]
    inside = []
    for side, uniform in ((height, draw[0]), (width, draw[1])):
        centre, pixels = tf.cast(uniform * side, tf.int32), tf.range(side)
        inside.append(tf.cast((pixels >= centre - half_side) & (pixels < centre + half_side), tf.uint8))
    rows, columns = inside  # uint8 [H] and [W], 1 inside
    # A row of pixels is one axis: broadcasting along three channels is slow.
    flat = tf.reshape(image, [height, width * 3])
    filled = flat + rows[:, None] * tf.repeat(columns, 3) * (tf.constant(FILL, tf.uint8) - flat)
    return tf.reshape(filled, image.shape)


def cutout(image, seed, augmentation):
    """Cuts one square of side `augmentation.cutout_size` out of an image, uint8 [H, W, 3]."""
    if not augmentation.cutout_size:
        return image
    return cut_out_square(image, augmentation.cutout_size // 2, simple_draws(seed)[3:])
