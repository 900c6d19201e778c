"""What a report says of all pseudo-labels, found in one pass: counts, a histogram, and samples of the images."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ns_jax.pseudo_labels.boundary import score_key
from ns_jax.pseudo_labels.chunks import Chunk, Labels
from ns_jax.pseudo_labels.progress import Arrays

BINS = np.linspace(0, 1, 51)  # of the histogram of the confidence
OF_CLASS = 24  # samples of a class and a kind
MOST_OF_CLASSES = 1 << 18  # of all classes together
AT_RANDOM = 10_000  # images of the sample of all
KINDS = ("surest", "least_sure", "random_of_class", "random")
_OPEN = np.int64(1) << 32  # above every key


class Survey(NamedTuple):
    """What was seen of all pseudo-labels.

    Attributes:
      per_class: int64 [classes].
      histogram: int64 [50], of the confidence in `BINS`.
      confidence: float64 [], sum of the confidences.
      samples: kind to `SAMPLE` records: of each class the surest and the least sure images and some at random, and
        10,000 of all at random; in the order of the classes, the best of a kind first.
    """

    per_class: np.ndarray
    histogram: np.ndarray
    confidence: np.ndarray
    samples: dict[str, np.ndarray]


SAMPLE = np.dtype([("index", "<i8"), ("label", "<i4"), ("confidence", "<f4"), ("place", "<i8"), ("key", "<i8")])


def survey(labels: Labels, check: Callable[[Chunk], None] = lambda chunk: None) -> Survey:
    """Reads all pseudo-labels once.

    Args:
      labels: of all images.
      check: called with each chunk before it is used.
    """
    arrays = dict(labels.once("survey", lambda: _look_through(labels, check)))
    per_class, histogram, confidence = (arrays.pop(name) for name in Survey._fields[:3])
    return Survey(per_class, histogram, confidence, arrays)


def _look_through(labels: Labels, check: Callable[[Chunk], None]) -> Arrays:
    """The fields of a `Survey` but the samples, and those by kind."""
    classes = labels.num_classes
    of_class = max(1, min(OF_CLASS, MOST_OF_CLASSES // classes))
    samples = [_Samples(np.full(classes, _OPEN), of_class) for _ in KINDS[:-1]] + [
        _Samples(np.full(1, _OPEN), AT_RANDOM)
    ]

    def look(chunk: Chunk) -> tuple[np.ndarray, np.ndarray, float, list[np.ndarray]]:
        check(chunk)
        label, confidence = chunk["label"], chunk["confidence"]
        key = score_key(confidence).astype(np.int64)
        random = (chunk.random() >> np.uint64(32)).astype(np.int64)
        everyone = np.zeros(len(chunk), np.int64)
        keys = ((label, key), (label, _OPEN - 1 - key), (label, random), (everyone, random))
        return (
            np.bincount(label, minlength=classes),
            np.histogram(confidence, BINS)[0],
            float(confidence.sum(dtype=np.float64)),
            [of_kind.candidates(chunk, *both) for of_kind, both in zip(samples, keys, strict=True)],
        )

    per_class, histogram, total = np.zeros(classes, np.int64), np.zeros(len(BINS) - 1, np.int64), 0.0
    for counts, in_bins, confidence, candidates in labels.map(look):
        per_class, histogram, total = per_class + counts, histogram + in_bins, total + confidence
        for of_kind, some in zip(samples, candidates, strict=True):
            of_kind.add(some)
    of_kinds = {kind: of_kind.best for kind, of_kind in zip(KINDS, samples, strict=True)}
    return {"per_class": per_class, "histogram": histogram, "confidence": np.array(total)} | of_kinds


@dataclasses.dataclass
class _Samples:
    """Of each group the images with the smallest keys, the first ones of equal keys.

    Attributes:
      limit: int64 [groups]; an image with this key or a larger one comes too late. Of the chunks before only, so that
        threads do not change the outcome.
      size: of a group.
      best: records.
    """

    limit: np.ndarray
    size: int
    best: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0, SAMPLE))

    def candidates(self, chunk: Chunk, group: np.ndarray, key: np.ndarray) -> np.ndarray:
        """Records of the images of a chunk that may be among the best."""
        places = np.flatnonzero(key < self.limit[group])
        order = places[np.lexsort((key[places], group[places]))]
        order = order[_rank(group[order]) < self.size]
        records = np.empty(len(order), SAMPLE)
        records["label"], records["confidence"] = chunk["label"][order], chunk["confidence"][order]
        records["index"] = chunk["index"][order] if len(order) else 0
        records["place"], records["key"] = chunk.start + order, key[order]
        return records

    def add(self, records: np.ndarray) -> None:
        """Takes the candidates of the next chunk."""
        if not len(records):
            return
        both = np.concatenate([self.best, records])
        group = both["label"].astype(np.int64) if len(self.limit) > 1 else np.zeros(len(both), np.int64)
        order = np.lexsort((both["place"], both["key"], group))
        rank = _rank(group[order])
        self.best = both[order[rank < self.size]]
        is_last = rank == self.size - 1
        self.limit[group[order[is_last]]] = both["key"][order[is_last]]


def _rank(group: np.ndarray) -> np.ndarray:
    """The place of each element among those of its group, int64 [n], of groups in ascending order."""
    return np.arange(len(group)) - np.searchsorted(group, group)
