"""Operation 'randaugment' (Cubuk et al., 2020): a few operations an image, drawn uniformly. TensorFlow graph code."""

from collections.abc import Callable

import tensorflow as tf

from ns_jax.data.ops.randaugment import pillow, reference
from ns_jax.data.ops.randaugment.reference import Magnitude
from ns_jax.data.ops.randaugment.sets import get_set
from ns_jax.data.ops.registry import Augmentation, RandAugmentSettings
from ns_jax.data.ops.seeds import RANDAUGMENT, fold_in
from ns_jax.registry import Registry

# {form: {name: function (image uint8 [H, W, 3], magnitude, draw float32 [2]) -> image}}
FORMS = {"reference": reference.OPERATIONS, "pillow": pillow.OPERATIONS}


def get_operations(settings: RandAugmentSettings) -> list[Callable]:
    """The functions of the settings' set, in its order.

    Raises:
      UserError: no such set, form or operation; has the nearest name.
    """
    operations = Registry("RandAugment operation", Registry("randaugment_form", FORMS).get(settings.form))
    return [operations.get(entry) if isinstance(entry, str) else entry for entry in get_set(settings.set)]


def draw_operations(seed, num_ops: int, available: int):
    """Draws what is random about one image.

    Args:
      seed: int32 or int64 [2]; the same seed gives the same draw.
      num_ops: operations per image.
      available: operations to choose from.

    Returns:
      Positions of the operations, int32 [num_ops], and of each its own uniform numbers, float32 [num_ops, 2].
    """
    # All numbers at once: on small images, drawing them one by one costs more than the operations.
    draws = tf.random.stateless_uniform([num_ops, 3], seed)
    return tf.cast(draws[:, 0] * available, tf.int32), draws[:, 1:]


def apply_randaugment(image, seed, settings: RandAugmentSettings):
    """Applies `num_ops` operations drawn uniformly with replacement.

    Args:
      image: uint8 [H, W, 3].
      seed: int32 or int64 [2]; the same seed gives the same result.
      settings: both forms draw the same.

    Returns:
      uint8 [H, W, 3].
    """
    strength = Magnitude(settings.magnitude, image.shape[1] or 224)
    operations, shape = get_operations(settings), image.shape
    choices, draws = draw_operations(seed, settings.num_ops, len(operations))
    for number in range(settings.num_ops):
        draw = draws[number]
        branches = [lambda run=run, image=image, draw=draw: run(image, strength, draw) for run in operations]
        image = tf.switch_case(choices[number], branches)  # runs the chosen branch only
        image.set_shape(shape)
    return image


def randaugment(image, seed, augmentation: Augmentation):
    """RandAugment with `augmentation.randaugment` on an image, uint8 [H, W, 3]."""
    settings = augmentation.randaugment
    if not settings.num_ops:
        return image
    return apply_randaugment(image, fold_in(seed, RANDAUGMENT), settings)
