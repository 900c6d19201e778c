"""From a decoded image to what the model sees: crop, resize, flip, noise. TensorFlow graph code."""

import os

import numpy as np
import tensorflow as tf

from ns_jax.data.randaugment import randaugment
from ns_jax.data.randaugment_reference import cut_out_square
from ns_jax.errors import UserError


def resize_bicubic(image, size: int):
    """[H, W, 3] any dtype to float32 [size, size, 3], neither clipped nor rounded.

    The official code's kernel is TensorFlow 1's (no half-pixel centres, a = -0.75), not the one
    that `tf.image.resize` applies today.
    """
    resized = tf.raw_ops.ResizeBicubic(images=tf.cast(image, tf.float32)[None], size=[size, size])[0]
    resized.set_shape([size, size, 3])
    return resized


def _to_uint8(image):
    return tf.cast(tf.clip_by_value(image, 0.0, 255.0), tf.uint8)


def center_crop(image, size: int, padding: int):
    """The centre square of size / (size + padding) of the shorter side, uncropped at 0."""
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    shorter = tf.cast(tf.minimum(height, width), tf.float32)
    side = tf.cast(size / (size + padding) * shorter, tf.int32)
    return tf.image.crop_to_bounding_box(
        image, (height - side + 1) // 2, (width - side + 1) // 2, side, side)  # fmt: skip


def eval_image(image, size: int, crop_padding: int):
    """The clean view: uint8 [H, W, 3] to float32 [size, size, 3] on the 0..255 scale."""
    if image.shape[:2] == (size, size) and crop_padding == 0:
        return tf.cast(image, tf.float32)
    return resize_bicubic(center_crop(image, size, crop_padding), size)


def decode_and_crop(image, size: int, crop_padding: int) -> np.ndarray:
    """The clean view of a file (a path) or of a uint8 array [H, W, 3]: float32 [size, size, 3].

    Raises:
      UserError: not a whole image; names the file.
    """
    if isinstance(image, str | os.PathLike):
        try:
            decoded = tf.io.decode_image(tf.io.read_file(os.fspath(image)), channels=3, expand_animations=False)
        except tf.errors.OpError as error:
            reason = "no such file" if isinstance(error, tf.errors.NotFoundError) else "not a whole JPEG, PNG, GIF or BMP"
            raise UserError(f"{os.fspath(image)}: {reason}") from None
    else:
        if getattr(image, "dtype", None) != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
            raise UserError("an image must be a path or a uint8 array [height, width, 3]")
        decoded = tf.constant(image)
    return eval_image(decoded, size, crop_padding).numpy()


def random_area_crop(image, size: int, crop_padding: int, seed):
    """8 to 100 % of the area, aspect 3/4 to 4/3; the centre crop if 10 attempts find none."""
    shape = tf.shape(image)
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        shape, tf.zeros([1, 0, 4]), seed, min_object_covered=0.1, aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(0.08, 1.0), max_attempts=10, use_image_if_no_bounding_boxes=True)  # fmt: skip
    whole = tf.reduce_all(extent[:2] == shape[:2])
    return tf.cond(
        whole,
        lambda: eval_image(image, size, crop_padding),
        lambda: resize_bicubic(tf.slice(image, begin, [extent[0], extent[1], 3]), size))  # fmt: skip


def pad4_crop(image, size: int, draw):
    """Reflect-pads by 4 and crops `size` at `draw`, float32 [2]; of other sizes, the resized centre square."""
    if image.shape[:2] != (size, size):
        image = _to_uint8(eval_image(image, size, 0))
    padded = tf.pad(image, [[4, 4], [4, 4], [0, 0]], mode="REFLECT")
    offset = tf.cast(draw * 9.0, tf.int32)
    return tf.slice(padded, [offset[0], offset[1], 0], [size, size, 3])


def train_image(image, config, size: int, crop_padding: int, seed):
    """The student's noised view.

    Args:
      image: uint8 [H, W, 3].
      config: `crop`, `flip`, `cutout_size` and `noise` of configs/common.py are read.
      size: resolution in pixels.
      crop_padding: of the centre crop that the random crop falls back to.
      seed: int64 [2]; all randomness comes from it.

    Returns:
      uint8 [size, size, 3].
    """
    crop_seed, randaugment_seed = (tf.stack([seed[0] + (salt << 32), seed[1]]) for salt in (1, 2))
    draw = tf.random.stateless_uniform([5], seed)
    if config.crop == "random_area":
        image = _to_uint8(random_area_crop(image, size, crop_padding, crop_seed))
    elif config.crop == "center":
        image = _to_uint8(eval_image(image, size, crop_padding))
    elif config.crop == "pad4":
        image = pad4_crop(image, size, draw[:2])
    elif image.shape[:2] != (size, size):
        image = _to_uint8(eval_image(image, size, 0))
    image.set_shape([size, size, 3])
    if config.flip:
        image = tf.where(draw[2] < 0.5, image, image[:, ::-1])
    if config.noise.randaugment_ops:
        image = randaugment(image, randaugment_seed, config.noise.randaugment_ops, config.noise.randaugment_magnitude,
                            config.noise.randaugment_exclude, config.noise.randaugment_form)  # fmt: skip
    if config.cutout_size:
        image = cut_out_square(image, config.cutout_size // 2, draw[3:])
    return image
