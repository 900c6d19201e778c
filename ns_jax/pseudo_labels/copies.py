"""Which image a copy is of, where images are trained on once, several times or not at all: a byte an image.

Copies are numbered as np.repeat(images, copies) numbers them: those of an image one after the other, images in order.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

BLOCK = 128  # images between two sums that are kept: 8 bytes each
ESCAPE = 255  # of an image with so many copies or more, whose number is in a list


class Copy(NamedTuple):
    """Some copies: int64 [N] the image of each, and int64 [N] how many copies of the same image come before it."""

    image: np.ndarray
    number: np.ndarray


class CopiesIndex:
    """The copies of all images, in a byte and a sixteenth an image.

    Args:
      shards: copies of the images of one shard after the other, unsigned integers [n] each; read once.
      num_images: of all shards.

    Raises:
      ValueError: the shards hold another number of images.
    """

    def __init__(self, shards: Iterable[np.ndarray], num_images: int):
        num_blocks = -(-num_images // BLOCK)
        small = np.zeros(num_blocks * BLOCK, np.uint8)
        of_block = np.zeros(num_blocks + 1, np.int64)
        large_images, large_copies, end = [np.empty(0, np.int64)], [np.empty(0, np.int64)], 0
        for copies in shards:
            start, end = end, end + len(copies)
            if end > num_images:
                break
            small[start:end] = np.minimum(copies, ESCAPE)
            is_large = np.flatnonzero(copies >= ESCAPE)
            large_images.append(start + is_large)
            large_copies.append(copies[is_large].astype(np.int64))
        if end != num_images:
            raise ValueError(f"the copies of {num_images} images are wanted, and these are of {end} or more")
        self.num_images, self._small = num_images, small.reshape(num_blocks, BLOCK)
        self._large_images, self._large_copies = np.concatenate(large_images), np.concatenate(large_copies)
        self._small.sum(1, dtype=np.int64, out=of_block[1:])
        np.add.at(of_block, self._large_images // BLOCK + 1, self._large_copies - ESCAPE)
        self._before = np.cumsum(of_block, out=of_block)

    def __len__(self) -> int:
        """Number of copies."""
        return int(self._before[-1])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The images of all copies, as np.repeat gives them, int64 [len(self)]."""
        if copy is False:
            raise ValueError("the images of the copies are not in memory: they must be looked up")
        return self[np.arange(len(self))].astype(np.int64 if dtype is None else dtype, copy=False)

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        """The images of some copies, int64 [N] each, as `locate` finds them."""
        return self.locate(positions).image

    @property
    def num_selected(self) -> int:
        """Number of images with at least one copy."""
        return int(np.count_nonzero(self._small))

    def _in_blocks(self, blocks: np.ndarray) -> np.ndarray:
        """Copies of the images of some blocks, [N, BLOCK], unsigned or int64."""
        copies = self._small[blocks]
        rows, columns = np.nonzero(copies == ESCAPE)
        if not len(rows):
            return copies
        copies = copies.astype(np.int64)
        places = np.searchsorted(self._large_images, blocks[rows] * BLOCK + columns)
        copies[rows, columns] = self._large_copies[places]
        return copies

    def locate(self, positions: np.ndarray) -> Copy:
        """Finds copies by their position, int64 [N], each at least 0 and below `len`.

        Raises:
          IndexError: a position is none of a copy.
        """
        positions = np.asarray(positions, np.int64)
        if positions.size and (positions.min() < 0 or positions.max() >= len(self)):
            raise IndexError(f"there are {len(self)} copies")
        blocks = np.searchsorted(self._before, positions, "right") - 1
        ends = np.cumsum(self._in_blocks(blocks), axis=1, dtype=np.int64)
        within = positions - self._before[blocks]
        columns = (ends <= within[:, None]).sum(1)
        before = np.where(columns > 0, np.take_along_axis(ends, np.maximum(columns, 1)[:, None] - 1, 1)[:, 0], 0)
        return Copy(blocks * BLOCK + columns, within - before)

    def searchsorted(self, images: Any, side: str = "left", sorter: Any = None) -> np.ndarray:
        """How many copies are of earlier images, int64 [N], each at most `num_images`; what `np.searchsorted` calls."""
        if side != "left" or sorter is not None:
            raise ValueError("only copies before an image are counted")
        images = np.asarray(images, np.int64)
        blocks, columns = images // BLOCK, images % BLOCK
        starts = self._before[blocks].copy()
        inside = np.flatnonzero(columns)  # none of an image beyond the last, at the end of the last block
        ends = np.cumsum(self._in_blocks(blocks[inside]), axis=1, dtype=np.int64)
        starts[inside] += ends[np.arange(len(inside)), columns[inside] - 1]
        return starts
