"""keras.applications' EfficientNet on TensorFlow, its training step compiled by tf.function."""

import sys
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from benchmarks.contest import serve
from benchmarks.contestants.task import Task


def make_work(task: Task) -> Callable[[], object]:
    """Returns a function that trains or predicts one batch."""
    size = task.resolution
    build = getattr(keras.applications, "EfficientNet" + task.variant.removeprefix("efficientnet-").upper())
    model = build(weights=None, input_shape=(size, size, 3), classes=task.num_classes, classifier_activation="softmax")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (task.batch_size, size, size, 3)).astype(np.float32)
    labels = keras.utils.to_categorical(rng.integers(0, task.num_classes, task.batch_size), task.num_classes)
    if task.mode == "inference":
        return lambda: model.predict_on_batch(images)
    optimizer = keras.optimizers.RMSprop(0.001, rho=0.9, momentum=0.9, epsilon=1e-3, use_ema=True, ema_momentum=0.9999)
    model.compile(optimizer, loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.1))
    return lambda: model.train_on_batch(images, labels)


def main(text: str) -> None:
    task = Task.from_text(text)
    tf.config.threading.set_intra_op_parallelism_threads(task.threads)
    serve(make_work(task))


if __name__ == "__main__":
    main(sys.argv[1])
