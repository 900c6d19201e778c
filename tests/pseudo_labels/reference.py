"""The selection rules with all images in memory: what the package's rules must equal, bit by bit."""

import numpy as np

from ns_jax.pseudo_labels.rules import SelectionSettings


def filter_and_balance(
    label: np.ndarray, score: np.ndarray, random: np.ndarray, wanted: list[int], settings: SelectionSettings
) -> np.ndarray:
    """Copies, uint32 [N].

    Args:
      label, score, random: int, float32 and uint64 [N].
      wanted: images of each class; of no effect without `images_per_class`.
      settings: thresholds.
    """
    kept = score > settings.min_confidence
    if settings.max_confidence < 1:
        kept &= score <= settings.max_confidence
    copies = kept.astype(np.uint32)
    if not settings.images_per_class:
        return copies
    for number, of_class in enumerate(wanted):
        members = np.flatnonzero((label == number) & kept)
        if len(members):
            copies[members] = _balance(score[members], random[members], of_class)
    return copies


def _balance(score: np.ndarray, random: np.ndarray, wanted: int) -> np.ndarray:
    """Copies of the n images of one class, uint32 [n]; they add up to `wanted`."""
    if len(score) >= wanted:
        copies = np.zeros(len(score), np.uint32)
        copies[np.lexsort((random, -score))[:wanted]] = 1
        return copies
    times, remainder = divmod(wanted, len(score))
    copies = np.full(len(score), times, np.uint32)
    copies[np.argsort(random, kind="stable")[:remainder]] += 1
    return copies


def thin(label: np.ndarray, score: np.ndarray, random: np.ndarray, classes: int, settings: SelectionSettings):
    """Copies by the official code's filter, uint32 [N]."""
    copies = np.zeros(len(label), np.uint32)
    step = np.floor(score.astype(np.float64) * 100 + 1e-6).astype(int)
    kept = score >= np.float32(settings.min_confidence)
    if settings.max_confidence < 1:
        kept &= score <= np.float32(settings.max_confidence)
    chance = (random >> np.uint64(32)) / 2**32
    for number in range(classes):
        members = np.flatnonzero((label == number) & kept)
        for threshold in range(200, -1, -1):
            chosen = members[step[members] >= threshold]
            if len(chosen) >= settings.images_per_class or threshold == 0:
                break
        if len(chosen):
            mean = settings.images_per_class / len(chosen)
            copies[chosen] = np.floor(mean) + (chance[chosen] < mean - np.floor(mean))
    return copies


def mean_probabilities(parts: list[np.ndarray]) -> np.ndarray:
    """Of float32 [n, classes] a shard."""
    total = sum(part.sum(0, dtype=np.float64) for part in parts)
    return total / np.sum(total)


def images_of_classes(parts: list[np.ndarray], classes: int, settings: SelectionSettings) -> list[int]:
    """How many images each class is to have."""
    if settings.balance == "equal":
        return [settings.images_per_class] * classes
    shares = mean_probabilities(parts)
    return [max(1, round(settings.images_per_class * classes * share)) for share in shares.tolist()]
