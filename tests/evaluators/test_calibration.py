"""Temperature scaling, and the threshold of a wanted precision."""

import hypothesis
import numpy as np
import pytest
import scipy.special
from hypothesis import strategies

from ns_jax.evaluators.calibration import confidence_for_precision, cross_entropies, fit_temperature
from ns_jax.evaluators.metrics import apply_temperature


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_finds_by_how_much_logits_are_too_large(factor):
    rng = np.random.default_rng(0)
    logits = 2 * rng.standard_normal((20_000, 5))
    true = scipy.special.softmax(logits, 1)
    labels = (true.cumsum(1) < rng.random((len(true), 1))).sum(1)
    given = scipy.special.softmax(factor * logits, 1).astype(np.float32)
    assert fit_temperature(given, labels) == pytest.approx(factor, rel=0.03)


def test_a_few_right_answers_do_not_make_it_certain():
    probs = np.array([[0.8, 0.2], [0.3, 0.7]], np.float32)
    assert 0.3 < fit_temperature(probs, np.array([0, 1])) < 1


@hypothesis.given(strategies.integers(0, 2**32 - 1), strategies.integers(1, 40))
@hypothesis.settings(deadline=None, max_examples=40)
def test_calibration_never_raises_cross_entropy_by_more_than_its_prior_allows(seed, count):
    rng = np.random.default_rng(seed)
    probs = scipy.special.softmax(3 * rng.standard_normal((count, 3)), 1).astype(np.float32)
    labels = rng.integers(0, 3, count)
    calibrated = apply_temperature(probs, fit_temperature(probs, labels))
    assert cross_entropies(calibrated, labels).sum() <= cross_entropies(probs, labels).sum() + 1e-3
    assert (calibrated.argmax(1) == probs.argmax(1)).mean() > 0.95  # ties apart, the order of classes stays


def test_threshold_of_a_precision():
    confidence = np.array([0.9, 0.6, 0.8, 0.7], np.float32)
    probs = np.stack([confidence, 1 - confidence], 1)
    labels = np.array([0, 1, 0, 1])  # right at 0.9 and 0.8
    for precision, threshold in ((0.95, 0.7), (0.66, 0.6), (0.5, 0.0), (0.3, 0.0)):
        assert confidence_for_precision(probs, labels, precision) == pytest.approx(threshold), precision
    kept = confidence > confidence_for_precision(probs, labels, 0.95)
    assert kept.tolist() == [True, False, True, False]
    assert confidence_for_precision(probs, 1 - labels, 0.95) is None
