"""Which images of one source are the same as images of others, by their fingerprints. NumPy only."""

from collections.abc import Sequence

import numpy as np

from ns_jax.data.duplicates.fingerprints import NO_DIGEST
from ns_jax.data.duplicates.hamming import NOTHING, nearest_within

# In what two images are the same, the strictest first: stored bytes, decoded pixels, nearly what they look like.
KINDS = ("bytes", "pixels", "near")
DUPLICATE = np.dtype([("index", "<i8"), ("kind", "u1"), ("distance", "u1"), ("source", "<i4"), ("equals", "<i8")])


def find_duplicates(unlabeled: np.ndarray, against: Sequence[np.ndarray], distance: int, threads: int) -> np.ndarray:
    """Finds the images of `unlabeled` that `against` holds too.

    Args:
      unlabeled: FINGERPRINT [N].
      against: FINGERPRINT [M] of each source, in order.
      distance: most bits in which perceptual hashes of near-duplicates differ; below 0: no near-duplicates.
      threads: for the comparison of perceptual hashes.

    Returns:
      DUPLICATE [K], ascending by index. `kind` is the position in KINDS of the strictest that holds, `source` and
      `equals` are the position in `against` and the index there, of the nearest image, the first of several.
    """
    others = np.concatenate(against)
    source_of = np.repeat(np.arange(len(against), dtype=np.int32), [len(part) for part in against])
    match = np.full(len(unlabeled), NOTHING, np.int64)
    kind, bits = np.zeros((2, len(unlabeled)), np.uint8)
    for number, field in enumerate(("stored", "pixels")):
        rest = np.flatnonzero(match == NOTHING)
        match[rest] = first_equal(unlabeled[field][rest], others[field])
        kind[rest] = number
    if distance >= 0:
        rest = np.flatnonzero(match == NOTHING)
        hashes = (np.ascontiguousarray(records["perceptual"]) for records in (unlabeled[rest], others))
        match[rest], bits[rest] = nearest_within(*hashes, distance, threads)
        kind[rest] = KINDS.index("near")
    duplicates = np.flatnonzero(match != NOTHING)
    result = np.empty(len(duplicates), DUPLICATE)
    result["index"] = unlabeled["index"][duplicates]
    result["kind"], result["distance"] = kind[duplicates], bits[duplicates]
    result["source"] = source_of[match[duplicates]]
    result["equals"] = others["index"][match[duplicates]]
    return result


def first_equal(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Position of the first equal digest, int64 [N], of digests [N] among others [M]; NOTHING where there is none."""
    distinct, first = np.unique(references, return_index=True)
    if not len(distinct):
        return np.full(len(queries), NOTHING, np.int64)
    places = np.minimum(np.searchsorted(distinct, queries), len(distinct) - 1)
    is_equal = (distinct[places] == queries) & (queries != NO_DIGEST)
    return np.where(is_equal, first[places], NOTHING)
