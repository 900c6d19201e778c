"""Which labeled images are validated on."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from ns_jax.data.holdout import part_of_each
from ns_jax.errors import UserError


@hypothesis.given(strategies.integers(2, 6), strategies.integers(0, 1000), strategies.integers(0, 1000))
@hypothesis.settings(deadline=None, max_examples=30)
def test_every_part_has_every_class_alike(parts, draw, seed):
    labels = np.random.default_rng(draw).integers(0, 3, 60)
    part = part_of_each(labels, None, parts, seed)
    counts = np.array([np.bincount(part[labels == k], minlength=parts) for k in range(3)])
    assert (counts.max(1) - counts.min(1) <= 1).all()
    np.testing.assert_array_equal(part, part_of_each(labels, None, parts, seed))


def test_groups_stay_together():
    labels, groups = np.tile([0, 1], 30), [f"module {i // 6}" for i in range(60)]
    part = part_of_each(labels, groups, 3, 0)
    assert set(part) == {0, 1, 2}
    for group in set(groups):
        assert len({part[i] for i in range(60) if groups[i] == group}) == 1
    assert part_of_each(labels, groups, 3, 1).tolist() != part.tolist()


def test_a_small_class_is_divided_as_far_as_it_goes():
    labels = np.array([0] * 50 + [1] * 2)
    part = part_of_each(labels, None, 5, 0)
    assert len(set(part[50:])) == 2


def test_too_few_images():
    with pytest.raises(UserError, match="2 labeled images in 2 classes cannot be divided into 3 parts"):
        part_of_each(np.array([0, 1]), None, 3, 0)
