"""The copies index numbers copies as np.repeat does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ns_jax.pseudo_labels.copies import BLOCK, CopiesIndex

NUMBERS = st.one_of(st.integers(0, 3), st.integers(250, 300), st.integers(0, 2_000))
SHARDS = st.lists(st.lists(NUMBERS, max_size=2 * BLOCK), max_size=5)


def index_of(shards) -> tuple[CopiesIndex, np.ndarray]:
    shards = [np.array(shard, np.uint32) for shard in shards]
    copies = np.concatenate([*shards, np.empty(0, np.uint32)]).astype(np.int64)
    return CopiesIndex(iter(shards), len(copies)), copies


@given(SHARDS, st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_copies_are_numbered_as_repeat_numbers_them(shards, seed):
    index, copies = index_of(shards)
    starts = np.concatenate([[0], np.cumsum(copies)]).astype(np.int64)
    assert len(index) == starts[-1] and index.num_selected == (copies > 0).sum()
    np.testing.assert_array_equal(np.searchsorted(index, np.arange(len(copies) + 1)), starts)
    if not len(index):
        return
    positions = np.random.default_rng(seed).integers(0, len(index), 50)
    edges = np.concatenate([starts[:-1], starts[1:] - 1])  # first and last copy of each image
    positions = np.concatenate([positions, edges[(edges >= 0) & (edges < len(index))]])
    located = index.locate(positions)
    expected = np.searchsorted(starts, positions, "right") - 1
    np.testing.assert_array_equal(located.image, expected)
    np.testing.assert_array_equal(located.number, positions - starts[expected])
    assert located.image.dtype == located.number.dtype == np.int64
    if len(index) < 10**4:
        np.testing.assert_array_equal(np.asarray(index), np.repeat(np.arange(len(copies)), copies))


def test_positions_that_no_copy_has():
    index, _ = index_of([[1, 0, 2], [3]])
    for position in (-1, 6):
        with pytest.raises(IndexError, match="6 copies"):
            index[np.array([0, position])]
    assert index[np.empty(0, np.int64)].shape == (0,)


def test_more_or_fewer_images_than_there_are():
    for shards in ([[1, 2]], [[1, 2], [3, 4]]):
        with pytest.raises(ValueError, match="of 3 images are wanted"):
            CopiesIndex([np.array(shard, np.uint32) for shard in shards], 3)


def test_a_byte_and_a_sixteenth_an_image():
    index = CopiesIndex([np.full(10**5, 2, np.uint32)] * 10, 10**6)
    assert sum(array.nbytes for array in vars(index).values() if isinstance(array, np.ndarray)) < 1.08 * 10**6
