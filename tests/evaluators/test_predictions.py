"""Predictions beside an evaluation."""

import numpy as np
import pytest
from etils import epath

from ns_jax.errors import UserError
from ns_jax.evaluators import classification
from ns_jax.evaluators.predictions import Predictions, read_predictions, write_predictions


class Source:
    """Four images of two classes."""

    name, count, class_names = "own", 4, ("cat", "dög")

    def ids(self, indices):
        return np.array([b"a.png", b"b.png", b"c.png", b"d.png"])[indices]


class Predictor:
    """Answers for a model that knows a class more, in an order that is not the source's."""

    class_names = ("owl", "dög", "cat")

    def every_example(self, source, indices):
        probs = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.2, 0.6, 0.2], [0.3, 0.2, 0.5]], np.float32)
        labels = np.array([1, 0, 1, 0])
        for places in (np.array([2, 0]), np.array([3, 1])):
            yield probs[places], labels[places], places


def test_predictions_are_kept_in_the_order_of_the_source(tmp_path):
    options = {"classes": ("cat", "dög")}
    result = classification.evaluate(Predictor(), Source(), np.arange(4), options)
    predictions = result.pop("predictions")
    path = epath.Path(tmp_path) / "test.npz"
    write_predictions(path, predictions)
    again = read_predictions(path)
    assert again.ids.tolist() == [b"a.png", b"b.png", b"c.png", b"d.png"] and again.class_names == ("cat", "dög")
    assert again.labels.dtype == np.int32 and again.labels.tolist() == [1, 0, 1, 0]
    assert again.probs.dtype == np.float32
    np.testing.assert_allclose(again.probs[0], [0.4, 0.6], rtol=1e-6)  # of the two classes that count
    assert (result["count"], result["correct"], result["balanced_accuracy"]) == (4, 4, 1.0)


def test_too_many_probabilities_are_counted_only(monkeypatch):
    monkeypatch.setattr(classification, "MAX_PROBABILITIES", 7)
    result = classification.evaluate(Predictor(), Source(), np.arange(4), {"classes": ("cat", "dög")})
    assert sorted(result) == ["correct", "count", "cross_entropy", "top1", "top5"]


def test_files_that_are_not_there_or_damaged(tmp_path):
    path = epath.Path(tmp_path) / "test.npz"
    assert read_predictions(path) is None
    names = ("a", "b")
    write_predictions(path, Predictions(np.array([b"x"]), np.array([0]), np.array([[1.0, 0.0]]), names))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match="test.npz is damaged"):
        read_predictions(path)
