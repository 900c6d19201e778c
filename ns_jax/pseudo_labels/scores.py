"""The built-in selection rules: the same filter and balance with different scores, all in [0, 1], 1 where sure.

`min_confidence` and `max_confidence` are thresholds of the rule's own score.
"""

from collections.abc import Callable

import numpy as np

from ns_jax.pseudo_labels.balance import filter_and_balance
from ns_jax.pseudo_labels.rules import PseudoLabels, SelectionSettings


def by_confidence(labels: PseudoLabels, settings: SelectionSettings) -> np.ndarray:
    """Scores an image by its highest probability (the paper's rule)."""
    return filter_and_balance(labels, labels.confidence, settings)


def by_margin(labels: PseudoLabels, settings: SelectionSettings) -> np.ndarray:
    """Scores an image by the difference of its two highest probabilities."""
    return filter_and_balance(labels, _score(labels, margin), settings)


def by_entropy(labels: PseudoLabels, settings: SelectionSettings) -> np.ndarray:
    """Scores an image by 1 minus the entropy of its probabilities over that of equal ones."""
    return filter_and_balance(labels, _score(labels, certainty), settings)


def margin(probs: np.ndarray) -> np.ndarray:
    """Highest minus second-highest probability, float32 [n], of float32 [n, classes]."""
    if probs.shape[1] == 1:
        return probs[:, 0]
    highest_two = np.partition(probs, -2, axis=1)[:, -2:]
    return highest_two[:, 1] - highest_two[:, 0]


def certainty(probs: np.ndarray) -> np.ndarray:
    """1 - entropy / log(classes), float32 [n], of float32 [n, classes], which need not add up to 1 exactly."""
    classes = probs.shape[1]
    if classes == 1:
        return np.ones(len(probs), np.float32)
    return np.clip(1.0 - entropy(probs) / np.log(classes), 0.0, 1.0).astype(np.float32)


def entropy(probs: np.ndarray) -> np.ndarray:
    """Entropy in nats, float64 [n], of float [n, classes], which need not add up to 1 exactly."""
    probs = probs.astype(np.float64)
    probs /= probs.sum(1, keepdims=True)
    logs = np.log(probs, out=np.zeros_like(probs), where=probs > 0)  # 0 log 0 is 0
    return -(probs * logs).sum(1)


def _score(labels: PseudoLabels, score: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The score of all images, float32 [N], in one pass over the probabilities."""
    parts = [score(probs) for probs in labels.probabilities()]
    return np.concatenate([np.empty(0, np.float32), *parts])
