"""Checks an augmentation before a run starts. TensorFlow."""

import tensorflow as tf

from ns_jax.data.ops.randaugment.operation import get_operations
from ns_jax.data.ops.randaugment.reference import Magnitude
from ns_jax.data.ops.randaugment.sets import get_set
from ns_jax.data.ops.registry import AUGMENTATIONS, CROPS, Augmentation
from ns_jax.data.views import View
from ns_jax.errors import UserError


def describe(array) -> str:
    """Dtype and shape, as 'uint8 [28, 28, 3]'."""
    return f"{array.dtype.name} {array.shape.as_list() if array.shape.rank is not None else '[...]'}"


def require_same_kind(name: str, result, given) -> None:
    """Raises UserError, with the operation's name, unless a result has the shape and the dtype of what was given.

    Dimensions that are not known while a graph is built agree with everything.
    """
    if not tf.is_tensor(result):
        raise UserError(f"augmentation {name!r}: returns {type(result).__name__}, not a tensor")
    if result.dtype != given.dtype or not result.shape.is_compatible_with(given.shape):
        raise UserError(
            f"augmentation {name!r}: returns {describe(result)} where it was given {describe(given)}; an operation "
            "must keep shape and dtype"
        )


def _run(name: str, function, image, *arguments):
    """Runs an operation once and compares its result with what it was given."""
    try:
        result = function(image, *arguments)
    except UserError:
        raise
    except Exception as error:  # whatever an operation of somebody's own raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise UserError(f"augmentation {name!r}: fails on {describe(image)} ({reason})") from error
    require_same_kind(name, result, image)
    return result


def _check_order(operations: tuple[str, ...]) -> None:
    for position, name in enumerate(operations):
        if name in CROPS and position:
            raise UserError(
                f"augmentation {name!r} must come first, once: it chooses the part of the image that is decoded"
            )
        if name in AUGMENTATIONS and name in operations[:position]:
            raise UserError(f"augmentation {name!r} is named twice: both would draw the same random numbers")


def _in_graph(operation, augmentation: Augmentation):
    """An operation (image, seed, augmentation) as a stream runs it: in a graph, where tensors have no values yet."""
    return tf.function(lambda image, seed: operation(image, seed, augmentation), autograph=False)


def _draw_in_graph(operation, magnitude: Magnitude):
    """The same for an operation (image, magnitude, draw) of RandAugment."""
    return tf.function(lambda image, draw: operation(image, magnitude, draw), autograph=False)


def _check_randaugment(augmentation: Augmentation, image, seed) -> None:
    """Runs each function of one's own in the RandAugment set: only a few are drawn for an image."""
    settings = augmentation.randaugment
    magnitude, draw = Magnitude(settings.magnitude, image.shape[1]), tf.random.stateless_uniform([2], seed)
    for entry, operation in zip(get_set(settings.set), get_operations(settings), strict=True):
        if callable(entry):
            _run(getattr(entry, "__name__", repr(entry)), _draw_in_graph(operation, magnitude), image, draw)


def check_augmentation(
    augmentation: Augmentation, view_or_shape: View | tuple[int, ...], dtype: str = "float32"
) -> None:
    """Runs every operation on one example.

    Args:
      augmentation: its operations must exist and keep shape and dtype.
      view_or_shape: the model's view of images, or the shape of the arrays that it takes.
      dtype: of the arrays; images are uint8.

    Raises:
      UserError: names the operation that does not exist (with the nearest name), comes at a wrong place, fails on the
        example, or returns another shape or dtype.
    """
    if isinstance(view_or_shape, View):
        example = tf.zeros([view_or_shape.size, view_or_shape.size, 3], tf.uint8)
    else:
        example = tf.zeros(view_or_shape, dtype)
        if augmentation.crop:
            raise UserError(f"augmentation {augmentation.crop!r}: the model takes {describe(example)}, not images")
    _check_order(augmentation.operations)
    seed = tf.constant([0, 0], tf.int64)
    for name, operation in augmentation.steps():
        if name == "randaugment" and example.shape.rank == 3:
            _check_randaugment(augmentation, example, seed)
        if name in AUGMENTATIONS:
            example = _run(name, operation, example, seed, augmentation)
        else:
            example = _run(name, _in_graph(operation, augmentation), example, seed)
