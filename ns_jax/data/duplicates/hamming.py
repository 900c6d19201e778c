"""The nearest of many 64-bit hashes by Hamming distance. NumPy only.

Every pair is compared, in blocks that stay in a core's cache: 1,000,000 hashes against 50,000 take minutes
(docs/recipes.md), whatever the distance and however alike the hashes are. Tables of parts of the hashes are faster at
small distances alone.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

BLOCK_PAIRS = 1 << 16  # compared at once: 576 KiB a thread
CHUNK = 1 << 12  # hashes that a thread takes at once
NOTHING = -1


def nearest_within(
    queries: np.ndarray, references: np.ndarray, distance: int, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the nearest reference of each query, the first of several that are equally near.

    Args:
      queries: uint64 [N].
      references: uint64 [M].
      distance: most bits in which two hashes may differ.
      threads: that compare at the same time.

    Returns:
      int64 [N], the position of the nearest reference, or NOTHING where none is within `distance`; and uint8 [N],
      the number of bits in which it differs (0 for NOTHING).
    """
    position = np.full(len(queries), NOTHING, np.int64)
    bits = np.zeros(len(queries), np.uint8)
    if not len(references):
        return position, bits

    def work(start: int) -> None:
        chunk = slice(start, start + CHUNK)
        _compare(queries[chunk], references, distance, position[chunk], bits[chunk])

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, range(0, len(queries), CHUNK)):
            pass  # raises what a thread raised
    return position, bits


def _compare(
    queries: np.ndarray, references: np.ndarray, distance: int, position: np.ndarray, bits: np.ndarray
) -> None:
    """As `nearest_within` on one thread, into `position` and `bits`."""
    difference, count = np.empty(BLOCK_PAIRS, np.uint64), np.empty(BLOCK_PAIRS, np.uint8)
    for rows, columns in _blocks(len(queries), len(references)):
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        pairs = shape[0] * shape[1]
        block, counts = difference[:pairs].reshape(shape), count[:pairs].reshape(shape)
        np.bitwise_xor(queries[rows, None], references[None, columns], out=block)
        np.bitwise_count(block, out=counts)
        if counts.min() > distance:  # so in nearly every block
            continue
        best = counts.argmin(axis=1)
        fewest = counts[np.arange(shape[0]), best]
        is_better = (fewest <= distance) & ((position[rows] == NOTHING) | (fewest < bits[rows]))
        position[rows] = np.where(is_better, best + columns.start, position[rows])
        bits[rows] = np.where(is_better, fewest, bits[rows])


def _blocks(num_rows: int, num_columns: int) -> Iterator[tuple[slice, slice]]:
    """Yields the rows and columns of blocks of at most BLOCK_PAIRS pairs; those of one row from left to right."""
    width = min(num_columns, BLOCK_PAIRS)
    height = BLOCK_PAIRS // width
    for top in range(0, num_rows, height):
        for left in range(0, num_columns, width):
            yield slice(top, min(top + height, num_rows)), slice(left, min(left + width, num_columns))
