"""Filter by confidence and balance the classes (paper section 3.2, "data filtering and balancing")."""

import hashlib

import numpy as np


def id_hash(ids: np.ndarray, seed: int) -> np.ndarray:
    """uint64 [N]: a random number per id that depends on (seed, id) alone."""
    salt = seed.to_bytes(8, "little", signed=True)
    return np.array(
        [int.from_bytes(hashlib.blake2b(i, digest_size=8, key=salt).digest(), "little") for i in ids.tolist()],
        np.uint64,
    )


def select_copies(
    label: np.ndarray,
    confidence: np.ndarray,
    lottery: np.ndarray,
    num_classes: int,
    min_confidence: float,
    images_per_class: int,
    max_confidence: float = 1.0,
    fraction: float = 1.0,
) -> np.ndarray:
    """How often each pseudo-labeled image is trained on.

    Images at or below `min_confidence` are dropped. A class with more than `images_per_class`
    keeps its most confident; one with fewer is duplicated up to that number: every image equally
    often, and the remainder once more for images drawn by `lottery`. The result does not depend
    on the order of the images.

    Args:
      label: int [N], most probable class.
      confidence: float [N], its probability.
      lottery: uint64 [N], see `id_hash`; also breaks ties of confidence.
      num_classes: labels are below it.
      min_confidence: threshold, exclusive.
      images_per_class: 0 keeps every image above the threshold once.
      max_confidence: threshold from above, inclusive (the study of soft and hard labels by confidence).
      fraction: share of all images that take part, drawn by `lottery` (the study of the amount of data).

    Returns:
      uint32 [N] copies.
    """
    kept = (confidence > min_confidence) & (confidence <= max_confidence)
    if fraction < 1:
        kept &= lottery < np.uint64(fraction * 2.0**64)
    copies = kept.astype(np.uint32)
    if not images_per_class:
        return copies
    for number in range(num_classes):
        of_class = np.flatnonzero((label == number) & (copies > 0))
        if not len(of_class):
            continue
        if len(of_class) >= images_per_class:
            best_first = of_class[np.lexsort((lottery[of_class], -confidence[of_class]))]
            copies[best_first[images_per_class:]] = 0
        else:
            times, extra = divmod(images_per_class, len(of_class))
            copies[of_class] = times
            copies[of_class[np.argsort(lottery[of_class])[:extra]]] += 1
    return copies
