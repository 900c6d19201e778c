"""RandAugment (Cubuk et al., 2020): a few operations an image, drawn uniformly."""

import tensorflow as tf

from ns_jax.data import randaugment_pillow, randaugment_reference
from ns_jax.data.randaugment_reference import Magnitude
from ns_jax.errors import UserError

FORMS = {"reference": randaugment_reference.OPS, "pillow": randaugment_pillow.OPS}


def check_names(names) -> None:
    """Raises UserError for a name that is not an operation's."""
    ops = FORMS["reference"]
    for name in names:
        if name not in ops:
            raise UserError(f"noise.randaugment_exclude: there is no operation {name!r}, only {', '.join(ops)}")


def draw_operations(seed, num_ops: int, available: int):
    """What is random about one image.

    Args:
      seed: int32 or int64 [2]; the same seed gives the same draw.
      num_ops: operations per image.
      available: operations to choose from.

    Returns:
      Indices of the operations, int32 [num_ops], and of each its own uniform numbers, float32 [num_ops, 2].
    """
    # All numbers at once: on small images, drawing them one by one costs more than the operations.
    draws = tf.random.stateless_uniform([num_ops, 3], seed)
    return tf.cast(draws[:, 0] * available, tf.int32), draws[:, 1:]


def randaugment(image, seed, num_ops: int, magnitude: float, exclude=(), form: str = "reference"):
    """Applies `num_ops` operations drawn uniformly with replacement.

    Args:
      image: uint8 [H, W, 3].
      seed: int32 or int64 [2]; the same seed gives the same result.
      num_ops: operations per image.
      magnitude: 10 is the nominal maximum; beyond it the operations extrapolate.
      exclude: names of operations to leave out.
      form: a key of FORMS; both forms draw the same.

    Returns:
      uint8 [H, W, 3].
    """
    strength = Magnitude(magnitude, image.shape[1] or 224)
    ops = [op for name, op in FORMS[form].items() if name not in exclude]
    choices, draws = draw_operations(seed, num_ops, len(ops))
    for number in range(num_ops):
        draw, shape = draws[number], image.shape
        # switch_case runs the chosen branch only.
        image = tf.switch_case(
            choices[number], [lambda op=op, image=image, draw=draw: op(image, strength, draw) for op in ops]
        )
        image.set_shape(shape)
    return image
