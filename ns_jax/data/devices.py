"""Where TensorFlow computes: on the processor alone."""

import tensorflow as tf


def keep_off_accelerators() -> None:
    """Leaves the accelerators to JAX. To be called before TensorFlow computes anything."""
    for kind in ("GPU", "TPU"):
        tf.config.set_visible_devices([], kind)
