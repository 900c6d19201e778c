"""Filter by a score and balance the classes (paper section 3.2, "data filtering and balancing"). NumPy only."""

import dataclasses
from collections.abc import Callable

import numpy as np

from ns_jax.pseudo_labels.boundary import Boundary, Ranking, find_boundary, score_key
from ns_jax.pseudo_labels.chunks import Chunk, Labels
from ns_jax.pseudo_labels.progress import Arrays
from ns_jax.pseudo_labels.rules import SelectionSettings

Score = Callable[[Chunk], np.ndarray]


def filter_and_balance(labels: Labels, score: Score, settings: SelectionSettings) -> "Chooser":
    """Chooses the images with the best scores, class by class.

    Images at or below `min_confidence`, or above a `max_confidence` below 1, are dropped. A class with more images
    than it is to have keeps its best; one with fewer is duplicated up to that number: every image equally often, and
    the remainder once more for images drawn by their random numbers. These break ties, too, so the result does not
    depend on the order of the images.

    Args:
      labels: of all images.
      score: chunk to float32 [n], takes the place of the confidence.
      settings: thresholds and the number of images of a class.
    """
    is_kept = lambda chunk: passes(score(chunk), settings)
    if not settings.images_per_class:
        return Chooser(score, settings)
    counted = labels.once("counts", lambda: _count(labels, score, is_kept))
    counts, (lowest, highest) = counted["counts"], counted["keys"].tolist()
    wanted = images_of_classes(labels, settings)
    is_full = counts >= wanted
    times, remainder = np.divmod(wanted, np.maximum(counts, 1))
    rank = np.where(is_full, np.where(counts > wanted, wanted, 0), np.where(counts > 0, remainder, 0))
    ranking = Ranking(score, is_kept, is_full, rank, counts, lowest, highest)
    boundary = Boundary(**labels.once("boundary", lambda: dataclasses.asdict(find_boundary(labels, ranking))))
    # A class with exactly as many as wanted keeps all of them, without a boundary.
    times = np.where(is_full, (counts == wanted).astype(np.int64), times).astype(np.uint32)
    return Chooser(score, settings, Balance(is_full, times, boundary))


@dataclasses.dataclass(frozen=True)
class Balance:
    """How the classes are balanced.

    Attributes:
      by_score: bool [classes], whether the best are kept.
      times: uint32 [classes], copies of every image that is kept.
      boundary: up to which images have one more.
    """

    by_score: np.ndarray
    times: np.ndarray
    boundary: Boundary


@dataclasses.dataclass(frozen=True)
class Chooser:
    """Copies of the images of a chunk, uint32 [n]."""

    score: Score
    settings: SelectionSettings
    balance: Balance | None = None

    def __call__(self, chunk: Chunk) -> np.ndarray:
        score = self.score(chunk)
        kept = passes(score, self.settings)
        if self.balance is None:
            return kept.astype(np.uint32)
        label = chunk["label"]
        key = np.where(self.balance.by_score[label], score_key(score), np.uint32(0))
        copies = np.where(kept, self.balance.times[label], np.uint32(0))
        return copies + self.balance.boundary.is_within(chunk, label, key, kept)


def images_of_classes(labels: Labels, settings: SelectionSettings) -> np.ndarray:
    """How many images each class is to have after duplication, int64 [classes]; at least one."""
    if settings.balance == "equal":
        return np.full(labels.num_classes, settings.images_per_class, np.int64)
    total = settings.images_per_class * labels.num_classes
    return np.array([max(1, round(total * share)) for share in mean_probabilities(labels).tolist()], np.int64)


def mean_probabilities(labels: Labels) -> np.ndarray:
    """The teacher's mean probability of each class over all images, float64 [classes]: the estimated class prior."""
    total = np.zeros(labels.num_classes)
    for sums in labels.map(lambda chunk: chunk["sum_of_probs"]):
        for of_shard in sums.reshape(-1, labels.num_classes):  # in order: float sums depend on it
            total += of_shard
    return total / np.sum(total)


def passes(score: np.ndarray, settings: SelectionSettings) -> np.ndarray:
    """bool [n]: which images are between the thresholds."""
    kept = score > settings.min_confidence
    # Softmax can round to more than 1; the official filter_unlabel.py has an upper threshold of 2 for it.
    if settings.max_confidence < 1:
        kept &= score <= settings.max_confidence
    return kept


def _count(labels: Labels, score: Score, is_kept: Callable[[Chunk], np.ndarray]) -> Arrays:
    """counts, int64 [classes], images that pass; keys, int64 [2], the lowest and highest key of their scores."""

    def count(chunk: Chunk) -> tuple[np.ndarray, int, int]:
        kept = is_kept(chunk)
        keys = score_key(score(chunk)[kept])
        return np.bincount(chunk["label"][kept], minlength=labels.num_classes), *_range_of(keys)

    counts, lowest, highest = np.zeros(labels.num_classes, np.int64), 2**32 - 1, 0
    for of_chunk, low, high in labels.map(count):
        counts += of_chunk
        lowest, highest = min(lowest, low), max(highest, high)
    return {"counts": counts, "keys": np.array([lowest, max(lowest, highest)])}


def _range_of(keys: np.ndarray) -> tuple[int, int]:
    return (int(keys.min()), int(keys.max())) if len(keys) else (2**32 - 1, 0)
