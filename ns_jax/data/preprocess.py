"""From a decoded image to what the model sees: crop, resize, flip, noise. TensorFlow graph code."""

import os

import numpy as np
import tensorflow as tf

from ns_jax.data.decode import decode_image, take
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


def center_window(size: int, padding: int):
    """The window (see decode.py) of the centre square, size / (size + padding) of the shorter side."""

    def window(shape):
        height, width = shape[0], shape[1]
        shorter = tf.cast(tf.minimum(height, width), tf.float32)
        side = tf.maximum(tf.cast(size / (size + padding) * shorter, tf.int32), 1)
        return tf.stack([(height - side + 1) // 2, (width - side + 1) // 2, side, side])

    return window


def random_area_window(size: int, padding: int, seed):
    """The window of 8 to 100 % of the area, aspect 3/4 to 4/3; the centre crop's if 10 attempts find none."""

    def window(shape):
        begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
            shape,
            tf.zeros([1, 0, 4]),
            seed,
            min_object_covered=0.1,
            aspect_ratio_range=(3 / 4, 4 / 3),
            area_range=(0.08, 1.0),
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        whole = tf.reduce_all(extent[:2] == shape[:2])
        return tf.where(whole, center_window(size, padding)(shape), tf.concat([begin[:2], extent[:2]], 0))

    return window


def clean_image(image, size: int, crop_padding: int) -> np.ndarray:
    """The clean view of a file (a path) or of a uint8 array [H, W, 3]: float32 [size, size, 3].

    Raises:
      UserError: not a whole image; names the file.
    """
    window = center_window(size, crop_padding)
    if isinstance(image, str | os.PathLike):
        try:
            encoded = tf.io.read_file(os.fsencode(image))
            decode_image(encoded)  # all of it: damage outside the window must show too
            inside = decode_image(encoded, window)
        except tf.errors.OpError as error:
            known = {
                tf.errors.NotFoundError: "no such file",
                tf.errors.FailedPreconditionError: "not a file",
                tf.errors.PermissionDeniedError: "no permission to read it",
            }
            reason = known.get(type(error), "not a whole JPEG, PNG, GIF or BMP that TensorFlow reads")
            raise UserError(f"{os.fspath(image)}: {reason}") from None
    else:
        if getattr(image, "dtype", None) != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
            raise UserError("an image must be a path or a uint8 array [height, width, 3]")
        inside = take(tf.constant(image), window)
    return resize_bicubic(inside, size).numpy()


def pad4_crop(image, size: int, draw):
    """Reflect-pads by 4 and crops `size` at `draw`, float32 [2]."""
    padded = tf.pad(image, [[4, 4], [4, 4], [0, 0]], mode="REFLECT")
    offset = tf.cast(draw * 9.0, tf.int32)
    return tf.slice(padded, [offset[0], offset[1], 0], [size, size, 3])


def train_window(config, size: int, crop_padding: int, seed):
    """What `train_image` wants of an image: a window, or None for all of it. Arguments as there."""
    if config.crop == "random_area":
        return random_area_window(size, crop_padding, _fold_in(seed, 1))
    return center_window(size, crop_padding) if config.crop == "center" else None


def train_image(image, config, size: int, seed):
    """The student's noised view.

    Args:
      image: uint8 [H, W, 3], what lies in the window of `train_window`.
      config: `crop`, `flip`, `cutout_size` and `noise` of configs/common.py are read.
      size: resolution in pixels.
      seed: int64 [2]; all randomness comes from it.

    Returns:
      uint8 [size, size, 3].
    """
    draw = tf.random.stateless_uniform([5], seed)
    if config.crop in ("random_area", "center"):
        image = _to_uint8(resize_bicubic(image, size))
    elif image.shape[:2] != (size, size):
        image = _to_uint8(resize_bicubic(take(image, center_window(size, 0)), size))
    if config.crop == "pad4":
        image = pad4_crop(image, size, draw[:2])
    image.set_shape([size, size, 3])
    if config.flip:
        # Neither tf.where nor a slice with step -1, which take 20 times as long on uint8.
        image = tf.cond(draw[2] < 0.5, lambda: image, lambda: tf.image.flip_left_right(image))
    if config.noise.randaugment_ops:
        image = randaugment(
            image,
            _fold_in(seed, 2),
            config.noise.randaugment_ops,
            config.noise.randaugment_magnitude,
            config.noise.randaugment_exclude,
            config.noise.randaugment_form,
        )
    if config.cutout_size:
        image = cut_out_square(image, config.cutout_size // 2, draw[3:])
    return image


def _fold_in(seed, salt: int):
    """A seed of its own, int64 [2]."""
    return tf.stack([seed[0] + (salt << 32), seed[1]])
