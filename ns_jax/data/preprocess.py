"""From a decoded image to what the model sees: window, resize, operations. TensorFlow graph code."""

import os

import numpy as np
import tensorflow as tf

from ns_jax import buckets
from ns_jax.data.decode import decode_image, take
from ns_jax.data.image_size import LIMIT, max_pixels
from ns_jax.data.ops.check import require_same_kind
from ns_jax.data.ops.crops import center_window
from ns_jax.data.ops.registry import AUGMENTATIONS, Augmentation
from ns_jax.data.ops.seeds import FIRST_OWN, fold_in
from ns_jax.data.resize import resize, resize_to_uint8
from ns_jax.data.views import View
from ns_jax.errors import UserError


def train_window(augmentation: Augmentation, view: View | None, seed):
    """The window in which `train_image` wants an image, or None for all of it. Arguments as there."""
    if view is None:
        return None
    if augmentation.crop:
        return AUGMENTATIONS.get(augmentation.crop)(view, seed, augmentation)
    if augmentation.operations and not view.crop_padding:
        return None  # the square is cut after decoding, and an image of the right size is taken as it is
    return center_window(view)


def train_image(image, augmentation: Augmentation, view: View | None, seed):
    """Makes the student's view of one image.

    Args:
      image: uint8 [H, W, 3], what lies in the window of `train_window`. Without a view: an array of any shape.
      augmentation: operations and their settings.
      view: of the model; None: it takes arrays.
      seed: int64 [2]; all randomness comes from it.

    Returns:
      uint8 [size, size, 3]. Without a view: shape and dtype of what was given.
    """
    if view is not None:
        has_window = train_window(augmentation, view, seed) is not None
        image = _resized(image, view, has_window)
    return _augmented(image, augmentation, seed)


def _resized(image, view: View, has_window: bool):
    """uint8 [H, W, 3] to uint8 [size, size, 3]."""
    if has_window:
        image = resize_to_uint8(image, view)
    elif image.shape[:2] != (view.size, view.size):
        image = resize_to_uint8(take(image, center_window(view)), view)
    image.set_shape([view.size, view.size, 3])
    return image


def _augmented(image, augmentation: Augmentation, seed):
    """Applies the operations in order."""
    for position, (name, operation) in enumerate(augmentation.steps()):
        if name in AUGMENTATIONS:
            image = operation(image, seed, augmentation)
            continue
        given = image
        image = operation(given, fold_in(seed, FIRST_OWN + position), augmentation)
        require_same_kind(name, image, given)
        image = tf.ensure_shape(image, given.shape)
    return image


def clean_image(image, view: View, exif_orientation: bool = False) -> np.ndarray:
    """The clean view of a file (a path) or of a uint8 array [H, W, 3]: float32 [size, size, 3].

    Args:
      image: path or array.
      view: of the model.
      exif_orientation: whether a file's image is turned as its EXIF data say.

    Raises:
      UserError: not a whole image; names the file.
    """
    window = center_window(view)
    if isinstance(image, str | os.PathLike):
        return resize(_read_window(image, window, exif_orientation), view).numpy()
    if getattr(image, "dtype", None) != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise UserError("an image must be a path or a uint8 array [height, width, 3]")
    return resize(take(tf.constant(image), window), view).numpy()


def _read_window(path, window, exif_orientation: bool):
    """Decodes the part of a file that lies in `window`: uint8 [H, W, 3]."""
    try:
        encoded = tf.io.read_file(os.fsencode(path)) if not buckets.is_bucket(path) else _read_object(path)
        decode_image(encoded)  # all of it: damage outside the window must show too
        return decode_image(encoded, window, exif_orientation)
    except (tf.errors.OpError, ValueError) as error:
        known = {
            tf.errors.NotFoundError: "no such file",
            tf.errors.FailedPreconditionError: "not a file",
            tf.errors.PermissionDeniedError: "no permission to read it",
        }
        if LIMIT in str(error):
            raise UserError(f"{os.fspath(path)}: more than {max_pixels()} pixels: set {LIMIT} to allow more") from None
        reason = known.get(type(error), "not a whole JPEG, PNG, GIF, BMP, WebP, TIFF or AVIF that can be read")
        raise UserError(f"{os.fspath(path)}: {reason}") from None


def _read_object(path):
    """The bytes of an image in a bucket. Raises UserError where it cannot be read."""
    buckets.check_address(path)
    try:
        return tf.constant(buckets.read(path))
    except FileNotFoundError:
        raise UserError(f"{os.fspath(path)}: no such file") from None
    except Exception as error:
        if explained := buckets.explain(error, path):
            raise UserError(f"{os.fspath(path)}: {explained}") from None
        raise
