import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ns_jax.data.duplicates import hamming
from ns_jax.data.duplicates.hamming import NOTHING, nearest_within

# Few different bits, so that equal and near hashes are common.
HASHES = st.lists(st.integers(0, 31).map(lambda bits: bits << 59 | bits), max_size=20)


@settings(deadline=None, max_examples=60)
@given(HASHES, HASHES, st.integers(0, 10), st.integers(1, 9), st.integers(1, 5))
def test_it_is_the_first_of_the_nearest(queries, references, distance, block, chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hamming, "BLOCK_PAIRS", block)
        patch.setattr(hamming, "CHUNK", chunk)
        position, bits = nearest_within(np.array(queries, np.uint64), np.array(references, np.uint64), distance, 2)
    assert position.dtype == np.int64 and bits.dtype == np.uint8
    for query, place, apart in zip(queries, position.tolist(), bits.tolist(), strict=True):
        distances = [(query ^ reference).bit_count() for reference in references]
        near = min(distances, default=99)
        expected = (distances.index(near), near) if near <= distance else (NOTHING, 0)
        assert (place, apart) == expected


def test_full_blocks():
    """More pairs than a block and more queries than a chunk hold."""
    rng = np.random.default_rng(0)
    references = rng.integers(0, 1 << 64, 70_000, np.uint64)
    queries = rng.integers(0, 1 << 64, 5_000, np.uint64)
    queries[[0, 4_999]] = references[[69_999, 65_536]] ^ np.array([0b101, 0], np.uint64)
    position, bits = nearest_within(queries, references, 4, 2)
    assert np.flatnonzero(position != NOTHING).tolist() == [0, 4_999]
    assert position[[0, 4_999]].tolist() == [69_999, 65_536] and bits[[0, 4_999]].tolist() == [2, 0]
