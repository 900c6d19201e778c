"""All examples but a few are used as an array of them is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ns_jax.data.examples import AllBut


@given(st.integers(1, 60), st.sets(st.integers(0, 59)), st.sets(st.integers(0, 59)), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_it_is_the_array_of_the_others(count, missing, more, seed):
    missing, more = (
        np.array(sorted(number for number in some if number < count), np.int64) for some in (missing, more)
    )
    examples, expected = AllBut(count, missing[::-1]), np.setdiff1d(np.arange(count), missing)
    assert len(examples) == len(expected) and examples.tolist() == expected.tolist()
    np.testing.assert_array_equal(np.asarray(examples), expected)
    places = np.random.default_rng(seed).integers(-len(expected), len(expected), 20) if len(expected) else []
    np.testing.assert_array_equal(examples[places], expected[np.asarray(places, int)])
    mask = np.arange(len(expected)) % 3 == 0
    np.testing.assert_array_equal(examples[mask], expected[mask])
    np.testing.assert_array_equal(examples[2:-1], expected[2:-1])
    bounds = np.arange(-1, count + 2)
    for side in ("left", "right"):
        np.testing.assert_array_equal(np.searchsorted(examples, bounds, side), np.searchsorted(expected, bounds, side))
    np.testing.assert_array_equal(np.arange(count)[examples], expected)
    assert examples.without(more).tolist() == np.setdiff1d(expected, more).tolist()


def test_it_holds_no_list_of_all():
    examples = AllBut(300_000_000, np.array([5, 299_999_999]))
    assert examples[np.array([4, 5, len(examples) - 1])].tolist() == [4, 6, 299_999_998]
    assert examples[10_000:10_003].tolist() == [10_001, 10_002, 10_003]
    assert sum(array.nbytes for array in vars(examples).values() if isinstance(array, np.ndarray)) < 100
    with pytest.raises(IndexError, match="299999998 examples"):
        examples[np.array([len(examples)])]
