"""Filter by a score and balance the classes (paper section 3.2, "data filtering and balancing"). NumPy only."""

import numpy as np

from ns_jax.pseudo_labels.rules import PseudoLabels, SelectionSettings


def filter_and_balance(labels: PseudoLabels, score: np.ndarray, settings: SelectionSettings) -> np.ndarray:
    """Numbers of copies of the images with the best scores, class by class.

    Images at or below `min_confidence`, or above a `max_confidence` below 1, are dropped. A class with more images
    than it is to have keeps its best; one with fewer is duplicated up to that number: every image equally often, and
    the remainder once more for images drawn by `labels.random`. The result does not depend on the order of the images.

    Args:
      labels: of N images.
      score: float [N], takes the place of the confidence; `labels.random` breaks ties.
      settings: thresholds and the number of images of a class.

    Returns:
      uint32 [N] copies.
    """
    kept = _passes(score, settings)
    copies = kept.astype(np.uint32)
    if not settings.images_per_class:
        return copies
    for number, wanted in enumerate(images_of_classes(labels, settings)):
        members = np.flatnonzero((labels.label == number) & kept)
        if len(members):
            copies[members] = _balance(score[members], labels.random[members], wanted)
    return copies


def images_of_classes(labels: PseudoLabels, settings: SelectionSettings) -> list[int]:
    """How many images each class is to have after duplication, [classes]; at least one."""
    if settings.balance == "equal":
        return [settings.images_per_class] * labels.num_classes
    shares = mean_probabilities(labels)
    return [max(1, round(settings.images_per_class * labels.num_classes * share)) for share in shares.tolist()]


def mean_probabilities(labels: PseudoLabels) -> np.ndarray:
    """The teacher's mean probability of each class over all images, float64 [classes]: the estimated class prior."""
    total = sum(probs.sum(0, dtype=np.float64) for probs in labels.probabilities())
    return total / np.sum(total)


def _passes(score: np.ndarray, settings: SelectionSettings) -> np.ndarray:
    """bool [N]: which images are between the thresholds."""
    kept = score > settings.min_confidence
    # Softmax can round to more than 1; the official filter_unlabel.py has an upper threshold of 2 for it.
    if settings.max_confidence < 1:
        kept &= score <= settings.max_confidence
    return kept


def _balance(score: np.ndarray, random: np.ndarray, wanted: int) -> np.ndarray:
    """Copies of the n images of one class, uint32 [n]; they add up to `wanted`."""
    if len(score) >= wanted:
        copies = np.zeros(len(score), np.uint32)
        best_first = np.lexsort((random, -score))
        copies[best_first[:wanted]] = 1
        return copies
    times, remainder = divmod(wanted, len(score))
    copies = np.full(len(score), times, np.uint32)
    copies[np.argsort(random)[:remainder]] += 1
    return copies
