"""What rules score an image by, from its probabilities: all scores are in [0, 1], 1 where the teacher is sure."""

import numpy as np


def margin(probs: np.ndarray) -> np.ndarray:
    """Highest minus second-highest probability, float32 [n], of float32 [n, classes]."""
    if probs.shape[1] == 1:
        return probs[:, 0]
    highest_two = np.partition(probs, -2, axis=1)[:, -2:]
    return highest_two[:, 1] - highest_two[:, 0]


def certainty_of(entropies: np.ndarray, num_classes: int) -> np.ndarray:
    """1 - entropy / log(classes), float32 [n], of entropies in nats, float64 [n]."""
    if num_classes == 1:
        return np.ones(len(entropies), np.float32)
    return np.clip(1.0 - entropies / np.log(num_classes), 0.0, 1.0).astype(np.float32)


def entropy(probs: np.ndarray) -> np.ndarray:
    """Entropy in nats, float64 [n], of float [n, classes], which need not add up to 1 exactly."""
    probs = probs.astype(np.float64)
    probs /= probs.sum(1, keepdims=True)
    logs = np.log(probs, out=np.zeros_like(probs), where=probs > 0)  # 0 log 0 is 0
    return -(probs * logs).sum(1)


def runner_up(probs: np.ndarray, label: np.ndarray) -> np.ndarray:
    """The most probable class but the label, int64 [n], of float [n, classes]; the label where there is no other."""
    if probs.shape[1] == 1:
        return label.astype(np.int64)
    others = probs.copy()
    others[np.arange(len(label)), label] = -1
    return others.argmax(1)
