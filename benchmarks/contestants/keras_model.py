"""keras.applications' EfficientNet on TensorFlow, its training step compiled by tf.function."""

import sys

import keras
import numpy as np
import tensorflow as tf

from benchmarks.contest import serve
from ns_jax.models.variants import get_variant


def main(mode: str, name: str, batch_size: int, threads: int) -> None:
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    size = get_variant(name).resolution
    build = getattr(keras.applications, "EfficientNet" + name.removeprefix("efficientnet-").upper())
    model = build(weights=None, input_shape=(size, size, 3), classifier_activation="softmax")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch_size, size, size, 3)).astype(np.float32)
    labels = keras.utils.to_categorical(rng.integers(0, 1000, batch_size), 1000)
    if mode == "inference":
        serve(lambda: model.predict_on_batch(images))
        return
    optimizer = keras.optimizers.RMSprop(0.001, rho=0.9, momentum=0.9, epsilon=1e-3, use_ema=True, ema_momentum=0.9999)
    model.compile(optimizer, loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.1))
    serve(lambda: model.train_on_batch(images, labels))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
