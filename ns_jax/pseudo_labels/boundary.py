"""The k-th best image of every class, exactly and in bounded memory.

Images are ordered by score, the highest first, then by their random number, then by their place. A histogram of every
class says in which bin its k-th image is; the bin is the range of the next histogram, until the images in the bins of
all classes are few enough to be sorted. Scores are narrowed first; where very many images have the same one, and in
classes where the score does not count, the random numbers are.
"""

import dataclasses
import threading
from collections.abc import Callable

import numpy as np

from ns_jax.pseudo_labels.chunks import Chunk, Labels

CELLS = 1 << 23  # of the histograms of all classes together: 32 MB, and twice as much for their sums
SORTED = 1 << 21  # images that are sorted at the end: 50 MB
MOST_BITS = 16  # of a class's histogram
WIDTH = 32  # bits of the numbers that are narrowed


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Which images are ranked, and how.

    Attributes:
      score: chunk to float32 [n]; NaN nowhere.
      is_ranked: chunk to bool [n].
      by_score: bool [classes], whether the score counts in a class; else only the random numbers do.
      wanted: int64 [classes], the rank that is asked for, from 1 on; 0: of no image of the class.
      counts: int64 [classes], ranked images; at least as many as wanted.
      lowest, highest: of `score_key` of the ranked images of all classes.
    """

    score: Callable[[Chunk], np.ndarray]
    is_ranked: Callable[[Chunk], np.ndarray]
    by_score: np.ndarray
    wanted: np.ndarray
    counts: np.ndarray
    lowest: int
    highest: int


@dataclasses.dataclass(frozen=True)
class Boundary:
    """Of each class the last image that is among the first `wanted`.

    Attributes:
      exists: bool [classes]; where it is not, no image is within.
      key: uint32 [classes] of its score, see `score_key`; 0 in classes where the score does not count.
      random: uint64 [classes], its random number.
      place: int64 [classes], its place among all pseudo-labels.
    """

    exists: np.ndarray
    key: np.ndarray
    random: np.ndarray
    place: np.ndarray

    def is_within(self, chunk: Chunk, label: np.ndarray, key: np.ndarray, is_ranked: np.ndarray) -> np.ndarray:
        """Whether images are ranked no later than the boundary of their class, bool [n].

        Args:
          chunk: of n images.
          label: [n].
          key: uint32 [n], of the score where it counts, else 0.
          is_ranked: bool [n], for which images it is asked; the others are not within.
        """
        asked, bound = is_ranked & self.exists[label], self.key[label]
        within, tied = asked & (key < bound), asked & (key == bound)
        if tied.any():
            places, random = np.flatnonzero(tied), chunk.random(tied)
            of_class = label[places]
            bound = self.random[of_class]
            is_before = chunk.start + places <= self.place[of_class]
            within[places] = (random < bound) | ((random == bound) & is_before)
        return within


def score_key(score: np.ndarray) -> np.ndarray:
    """uint32 [n] that is the smaller the higher a score, float32 [n], is."""
    bits = (score + np.float32(0)).view(np.uint32)  # -0 becomes 0
    return np.where(bits >> np.uint32(31), bits, np.uint32(2**31 - 1) - bits)


@dataclasses.dataclass
class _Spans:
    """The range of numbers of each class, [low, low + 2**bits), that holds the image at `rank` of the `count` in it."""

    low: np.ndarray
    bits: np.ndarray
    rank: np.ndarray
    count: np.ndarray

    def holds(self, label: np.ndarray, value: np.ndarray) -> np.ndarray:
        """Whether numbers int64 [n] are in the range of their class, bool [n]."""
        return (value - self.low[label]) >> self.bits[label] == 0

    def narrow(
        self, labels: Labels, values: Callable[[Chunk], tuple[np.ndarray, np.ndarray]], active: np.ndarray
    ) -> None:
        """Cuts the ranges of the `active` classes, bool [classes], to a bin of their histogram.

        Args:
          labels: all pseudo-labels.
          values: chunk to classes and numbers, int64 [m] each, of its images of active classes in their ranges.
          active: whose range has bits.
        """
        log_bins = max(4, min(MOST_BITS, (CELLS // labels.num_classes).bit_length() - 1))
        shift = np.maximum(self.bits - log_bins, 0)
        histogram, lock = np.zeros(labels.num_classes << log_bins, np.uint32), threading.Lock()

        def add(chunk: Chunk) -> None:
            label, value = values(chunk)
            cells = (label << log_bins) + ((value - self.low[label]) >> shift[label])
            with lock:
                np.add.at(histogram, cells, np.uint32(1))

        for _ in labels.map(add):
            pass
        of_class = histogram.reshape(labels.num_classes, -1)
        for number in np.flatnonzero(active).tolist():
            ends = np.cumsum(of_class[number], dtype=np.int64)
            chosen = int(np.searchsorted(ends, self.rank[number]))
            before = ends[chosen - 1] if chosen else 0
            self.low[number] += chosen << shift[number]
            self.rank[number] -= before
            self.count[number] = ends[chosen] - before
        self.bits[active] = shift[active]


def find_boundary(labels: Labels, ranking: Ranking) -> Boundary:
    """Finds the image at rank `wanted` of each class."""
    exists, by_score = ranking.wanted > 0, ranking.by_score
    scores = _Spans(
        low=np.where(by_score, ranking.lowest, 0),
        bits=np.where(by_score, int(ranking.highest - ranking.lowest).bit_length(), WIDTH),
        rank=ranking.wanted.astype(np.int64),
        count=np.where(exists, ranking.counts, 0),
    )

    def keys(chunk: Chunk) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Places in the chunk of images in the ranges of scores, their classes and their keys."""
        label = chunk["label"]
        places = np.flatnonzero(ranking.is_ranked(chunk) & exists[label])
        label = label[places].astype(np.int64)
        key = score_key(ranking.score(chunk)[places]).astype(np.int64)
        key[~by_score[label]] = 0
        inside = scores.holds(label, key)
        return places[inside], label[inside], key[inside]

    def scored(chunk: Chunk) -> tuple[np.ndarray, np.ndarray]:
        _, label, key = keys(chunk)
        return label[coarse[label]], key[coarse[label]]

    def is_coarse() -> np.ndarray:
        """Classes whose range holds more than a score."""
        return exists & by_score & (scores.bits > 0)

    while (coarse := is_coarse()).any() and scores.count[coarse].sum() > SORTED:
        scores.narrow(labels, scored, coarse)

    drawn = _Spans(np.zeros_like(scores.low), np.full_like(scores.bits, WIDTH), scores.rank, scores.count)
    tied = exists & ~is_coarse()

    def numbers(chunk: Chunk) -> tuple[np.ndarray, np.ndarray]:
        places, label, _ = keys(chunk)
        places, label = places[tied[label]], label[tied[label]]
        value = _upper_half(chunk, places)
        inside = drawn.holds(label, value)
        return label[inside], value[inside]

    while (drawn.bits[tied] > 0).any() and drawn.count.sum() > SORTED:
        drawn.narrow(labels, numbers, tied)

    def rest(chunk: Chunk) -> tuple[np.ndarray, ...]:
        """Class, key, random number and place of the images that are left."""
        places, label, key = keys(chunk)
        random = _random_of(chunk, places)
        left = drawn.holds(label, (random >> np.uint64(WIDTH)).astype(np.int64))
        return label[left], key[left], random[left], chunk.start + places[left]

    columns = zip(*labels.map(rest), strict=True)
    label, key, random, place = (np.concatenate(parts) for parts in columns)
    order = np.lexsort((place, random, key, label))
    first = np.searchsorted(label[order], np.arange(labels.num_classes))
    last = order[np.where(exists, first + drawn.rank - 1, 0)] if len(order) else np.zeros(0, np.int64)
    choose = lambda values, dtype: (
        np.where(exists, values[last], 0).astype(dtype) if len(last) else np.zeros(len(exists), dtype)
    )
    return Boundary(exists, choose(key, np.uint32), choose(random, np.uint64), choose(place, np.int64))


def _random_of(chunk: Chunk, places: np.ndarray) -> np.ndarray:
    """Random numbers of the images at ascending places, uint64 [m]."""
    where = np.zeros(len(chunk), bool)
    where[places] = True
    return chunk.random(where)


def _upper_half(chunk: Chunk, places: np.ndarray) -> np.ndarray:
    """As `_random_of`, the upper 32 bits as int64."""
    return (_random_of(chunk, places) >> np.uint64(WIDTH)).astype(np.int64)
