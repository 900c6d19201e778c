"""Seeds and random numbers of one image's operations. All of them are functions of the image's seed, int64 [2]."""

import tensorflow as tf

RANDOM_AREA = 1  # salts of `fold_in`; never reuse one
RANDAUGMENT = 2
FLIP_VERTICAL = 3
QUARTER_TURNS = 4
FIRST_OWN = 16  # of the operation at position 0 that is not built in


def fold_in(seed, salt: int):
    """Returns a seed of its own for `salt`, int64 [2]."""
    return tf.stack([seed[0] + (salt << 32), seed[1]])


def simple_draws(seed):
    """Returns the uniform numbers of the simple operations, float32 [5]: pad4 takes 0 and 1, flip 2, cutout 3 and 4.

    Operations ask for them one by one; TensorFlow merges the equal nodes of the graph.
    """
    return tf.random.stateless_uniform([5], seed)
