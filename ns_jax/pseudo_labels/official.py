"""The official code's filter and balance (noisystudent, filter_unlabel.py), which the paper's text leaves out."""

import dataclasses

import numpy as np

from ns_jax.pseudo_labels.balance import images_of_classes, passes
from ns_jax.pseudo_labels.chunks import Chunk, Labels
from ns_jax.pseudo_labels.draws import chances
from ns_jax.pseudo_labels.progress import Arrays
from ns_jax.pseudo_labels.rules import SelectionSettings, in_chunks

STEPS = 100  # of the grid of thresholds in 0 .. 1
MOST = 2 * STEPS  # the official upper threshold is 2, as a softmax can round to more than 1


@in_chunks
def by_thinning(labels: Labels, settings: SelectionSettings) -> "Thinning":
    """Keeps images of an over-full class at random.

    The threshold of a class is the highest of the grid of 0.01 that leaves as many images as it is to have, at least
    `min_confidence`. Each of the n images from it on, itself included, has images_per_class / n copies: the whole part,
    and one more by chance for the fraction.
    """

    def count(chunk: Chunk) -> np.ndarray:
        kept = _passes(chunk, settings)
        cells = chunk["label"][kept].astype(np.int64) * (MOST + 1) + grid(chunk["confidence"][kept])
        return np.bincount(cells, minlength=labels.num_classes * (MOST + 1))

    def count_all() -> Arrays:
        total = np.zeros(labels.num_classes * (MOST + 1), np.int64)
        for counts in labels.map(count):
            total += counts
        return {"counts": total.reshape(labels.num_classes, MOST + 1)}

    if not settings.images_per_class:
        return Thinning(settings, np.zeros(labels.num_classes, np.int64), np.ones(labels.num_classes))
    from_step = labels.once("grid", count_all)["counts"][:, ::-1].cumsum(1)[:, ::-1]  # images at or above each step
    wanted = images_of_classes(labels, settings)
    is_full = from_step[:, 0] >= wanted
    # Counts fall with the step: the last that still leaves enough.
    step = np.where(is_full, (from_step >= wanted[:, None]).sum(1) - 1, 0)
    left = from_step[np.arange(labels.num_classes), step]
    return Thinning(settings, step, wanted / np.maximum(left, 1))


def grid(confidence: np.ndarray) -> np.ndarray:
    """The highest step of the grid that is not above a confidence, int64 [n], of float32 [n]."""
    return np.clip(np.floor(confidence.astype(np.float64) * STEPS + 1e-6), 0, MOST).astype(np.int64)


@dataclasses.dataclass(frozen=True)
class Thinning:
    """Copies of the images of a chunk, uint32 [n].

    Attributes:
      settings: of the filter.
      step: int64 [classes], the threshold of each class.
      copies: float64 [classes], mean number of copies of an image above it.
    """

    settings: SelectionSettings
    step: np.ndarray
    copies: np.ndarray

    def __call__(self, chunk: Chunk) -> np.ndarray:
        label = chunk["label"]
        kept = _passes(chunk, self.settings) & (grid(chunk["confidence"]) >= self.step[label])
        mean = self.copies[label[kept]]
        whole = np.floor(mean)
        copies = np.zeros(len(chunk), np.uint32)
        copies[kept] = whole + (chances(chunk.random(kept), upper=True) < mean - whole)
        return copies


def _passes(chunk: Chunk, settings: SelectionSettings) -> np.ndarray:
    """As `passes`, with images at the lower threshold."""
    confidence = chunk["confidence"]
    return passes(confidence, settings) | (confidence == np.float32(settings.min_confidence))
