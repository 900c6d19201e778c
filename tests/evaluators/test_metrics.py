"""Metrics against figures that can be counted by hand, and against scikit-learn's own averages."""

import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from ns_jax.evaluators.metrics import (
    apply_temperature,
    calibration_bins,
    classification_metrics,
    expected_calibration_error,
)


def test_two_classes_by_hand():
    probs = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]], np.float32)
    measured = classification_metrics(probs, np.array([0, 0, 1, 1]))
    assert measured["confusion"] == [[2, 0], [1, 1]]
    assert measured["per_class"]["recall"] == [1.0, 0.5] and measured["per_class"]["support"] == [2, 2]
    assert measured["per_class"]["precision"] == pytest.approx([2 / 3, 1.0])
    assert measured["balanced_accuracy"] == 0.75
    assert measured["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert measured["auroc"] == 0.75  # 0.4 of class 0 lies above 0.3 of class 1: 3 of 4 pairs are in order
    assert measured["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert measured["brier"] == pytest.approx(2 * (0.1**2 + 0.4**2 + 0.7**2 + 0.2**2) / 4)
    assert measured["ece"] == pytest.approx((0.1 + 0.4 + 0.7 + 0.2) / 4)  # each image in a bin of its own


@pytest.mark.filterwarnings("error")
def test_classes_without_images():
    probs = np.eye(4, dtype=np.float32)[[0, 1, 3, 1]]
    measured = classification_metrics(probs, np.array([0, 1, 1, 1]))
    assert measured["balanced_accuracy"] == pytest.approx((1 + 2 / 3) / 2)
    assert measured["auroc"] == pytest.approx((1 + 5 / 6) / 2)
    assert measured["per_class"]["support"] == [1, 3, 0, 0]
    json.dumps(measured, allow_nan=False)
    alone = classification_metrics(probs[:1], np.array([0]))
    assert alone["auroc"] is None and alone["average_precision"] is None and alone["balanced_accuracy"] == 1
    json.dumps(alone, allow_nan=False)


def test_many_classes_have_no_confusion_matrix():
    probs = np.random.default_rng(0).dirichlet(np.ones(51), 60).astype(np.float32)
    assert "confusion" not in classification_metrics(probs, np.arange(60) % 51)
    assert len(classification_metrics(probs[:, :50], np.arange(60) % 50)["confusion"]) == 50


@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(st.integers(2, 6), st.integers(12, 60), st.integers(0, 2**31))
def test_means_are_those_of_scikit_learn(classes, count, seed):
    random = np.random.default_rng(seed)
    probs = random.dirichlet(np.full(classes, 0.5), count)
    labels = np.concatenate([np.arange(classes), random.integers(0, classes, count - classes)])
    measured = classification_metrics(probs, labels)
    assert measured["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, probs.argmax(1)))
    want = roc_auc_score(labels, probs[:, 1] if classes == 2 else probs, multi_class="ovr")
    assert measured["auroc"] == pytest.approx(want)
    assert np.sum(measured["confusion"]) == count == sum(measured["per_class"]["support"])


def test_calibration_bins():
    confidence = np.array([0.5, 0.99, 1.0, 0.995], np.float32)
    bins = calibration_bins(confidence, np.array([True, True, False, True]), bins=10)
    assert bins["count"].tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0, 3]  # 0.5 is the upper end of the fifth
    assert bins["accuracy"][9] == pytest.approx(2 / 3) and bins["confidence"][9] == pytest.approx(0.995)
    assert expected_calibration_error(bins) == pytest.approx((0.5 + 3 * (0.995 - 2 / 3)) / 4)


def test_temperature_is_that_of_logits():
    logits = np.random.default_rng(0).normal(size=(5, 3))
    softmax = lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True)
    np.testing.assert_allclose(apply_temperature(softmax(logits), 2.5), softmax(logits / 2.5), rtol=1e-5)
    certain = apply_temperature(np.array([[1.0, 0.0]], np.float32), 0.5)
    np.testing.assert_allclose(certain, [[1, 0]], atol=1e-6)
