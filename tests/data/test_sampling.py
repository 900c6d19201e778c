"""How often labeled images are drawn."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from ns_jax.data.sampling import MAX_REPEATS, class_prior, describe_draws, labels_of, training_draws
from ns_jax.data.sources.base import Source
from ns_jax.data.sources.registry import open_source
from ns_jax.errors import UserError


def source_of(labels, **known) -> Source:
    table = np.array(labels, np.int32)
    return Source("made", len(table), ("x", "y", "z"), None, None, labels=table, **known)


def test_natural_draws_are_the_images_themselves():
    indices = np.array([0, 2, 3])
    assert training_draws(source_of([0, 0, 1, 2]), indices) is indices


@given(st.lists(st.integers(0, 2), min_size=1, max_size=300))
@settings(max_examples=50, deadline=None)
def test_balanced_classes_are_drawn_equally_often_and_their_images_too(labels):
    source = source_of(labels)
    draws = training_draws(source, np.arange(len(labels)), "balanced")
    times = np.bincount(draws, minlength=len(labels))
    assert times.min() >= 1  # no image is lost
    of_class = [times[source.labels == label] for label in range(3)]
    largest = max(len(part) for part in of_class)
    for part in of_class:
        if len(part):
            assert part.sum() == min(largest, MAX_REPEATS * len(part)) and part.max() - part.min() <= 1


def test_weights_and_balance_together():
    source = source_of([0, 0, 0, 1], weights=np.array([1, 0.5, 0, 1], np.float32))
    assert np.bincount(training_draws(source, np.arange(4)), minlength=4).tolist() == [10, 5, 0, 10]
    balanced = training_draws(source, np.arange(4), "balanced")
    assert np.bincount(balanced).tolist() == [10, 5, 0, 15]
    with pytest.raises(UserError, match="every weight is 0"):
        training_draws(source, np.array([2]))


def test_labels_are_read_where_a_source_does_not_list_them():
    source = open_source("mnist5k:labeled")
    indices = np.array([3, 50, 99])
    expected = [int(source.load(tf.constant(index, tf.int64))[1]) for index in indices]
    labels = labels_of(source, indices)
    assert labels.tolist() == expected and labels.dtype == np.int32
    assert len(set(expected)) > 1


def test_prior_and_what_is_said():
    labels = np.array([0, 0, 0, 1])
    assert class_prior(labels, 2) == (0.75, 0.25)
    assert min(class_prior(labels, 3)) > 0
    assert describe_draws(4, ("a", "b"), labels) == "draws of 4 labeled images: a 75 %, b 25 %"
