"""An evaluation of one's own: the mean of the accuracies of all classes."""

import numpy as np

from ns_jax.data.sources.base import Source
from ns_jax.inference.predictor import Predictor
from ns_jax.parallel.hosts import sum_over_hosts


def balanced_accuracy(predictor: Predictor, source: Source, indices: np.ndarray, options) -> dict:
    """{balanced_accuracy, count}, the same on all hosts.

    Named in a config as the type of an entry of evaluations: 'tests.extending.own_evaluation:balanced_accuracy'.
    """
    count = np.zeros((2, source.num_classes), np.int64)  # of images, of right answers
    for probs, labels, _ in predictor.every_example(source, indices):
        np.add.at(count[0], labels, 1)
        np.add.at(count[1], labels, probs.argmax(1) == labels)
    images, right = sum_over_hosts(count)
    return {"balanced_accuracy": float((right / np.maximum(images, 1)).mean()), "count": int(images.sum())}
