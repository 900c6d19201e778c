"""Calibration, selective accuracy, several right labels and subsets of classes, against figures counted by hand."""

import types

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from ns_jax.artifact.class_names import wordnet_ids
from ns_jax.data.sources.base import Source
from ns_jax.errors import UserError
from ns_jax.evaluators import own_classes, reliability, selective, several_labels
from ns_jax.evaluators.classification import label_columns, labels_among
from ns_jax.files import write_json


class Answers:
    """A predictor that knows its answers: probabilities float32 [N, classes] of the images of a source."""

    def __init__(self, probs, class_names):
        self.probs, self.class_names = np.asarray(probs, np.float32), tuple(class_names)

    def every_example(self, source, indices):
        for start in range(0, len(indices), 2):
            places = indices[start : start + 2]
            yield self.probs[places], source.labels[places], places


def source_of(labels, class_names, ids=None):
    names = np.array(ids if ids is not None else [b"image/%d" % number for number in range(len(labels))])
    labels = np.array(labels, np.int32)
    return Source("made", len(labels), tuple(class_names), None, lambda indices: names[indices], labels=labels)


def everything(source):
    return np.arange(source.count)


def test_calibration_by_hand():
    probs = [[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]]
    source = source_of([0, 0, 1, 1], "ab")
    result = reliability.evaluate(Answers(probs, "ab"), source, everything(source), {"bins": 2})
    assert result["accuracy"] == 0.75 and result["confidence"] == pytest.approx(0.75)
    assert result["ece"] == pytest.approx(0.0, abs=1e-7)  # all above 0.5: one bin, 0.75 sure and 0.75 right
    # By mass: 0.6 and 0.7, of which one is right; 0.8 and 0.9, both right.
    assert result["ece_equal_mass"] == pytest.approx((abs(0.65 - 0.5) + abs(0.85 - 1)) / 2)
    assert result["nll"] == pytest.approx(-np.mean(np.log([0.9, 0.6, 0.3, 0.8])))
    assert result["bins"]["count"] == [0, 4]
    assert set(result) >= {"temperature", "ece_scaled", "nll_scaled", "bins_scaled"}


def test_a_temperature_is_fitted_on_the_other_half():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 400)
    logits = 3 * np.eye(3)[labels] + random.normal(0, 3, (400, 3))
    too_sure = np.exp(4 * logits) / np.exp(4 * logits).sum(1, keepdims=True)
    scaled, temperatures = reliability.scale_by_halves(too_sure.astype(np.float32), labels)
    before, after = (reliability.calibration(probs, labels, 15) for probs in (too_sure.astype(np.float32), scaled))
    assert min(temperatures) > 2 and after["ece"] < before["ece"] / 3 and after["nll"] < before["nll"]
    np.testing.assert_array_equal(scaled.argmax(1), too_sure.argmax(1))
    changed = labels.copy()
    half = np.random.default_rng(reliability.SPLIT_SEED).permutation(400)[:200]
    changed[half] = (changed[half] + 1) % 3  # other labels of one half do not change the temperature that it gets
    again, _ = reliability.scale_by_halves(too_sure.astype(np.float32), changed)
    np.testing.assert_array_equal(again[half], scaled[half])
    assert (again != scaled).any()


def test_selective_accuracy_by_hand():
    confidence = np.array([0.9, 0.5, 0.8, 0.6])
    correct = np.array([True, False, False, True])
    risks = selective.risk_at_each_coverage(confidence, correct)  # right, wrong, right, wrong
    assert risks.tolist() == pytest.approx([0, 1 / 2, 1 / 3, 2 / 4])
    source = source_of([0, 0, 1, 1], "ab")
    probs = [[0.9, 0.1], [0.5 - 1e-6, 0.5 + 1e-6], [0.8, 0.2], [0.4, 0.6]]
    result = selective.evaluate(Answers(probs, "ab"), source, everything(source), {})
    assert result["aurc"] == pytest.approx(np.mean(risks))
    assert result["accuracy_at_50"] == 0.5 and result["accuracy_at_100"] == 0.5


@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(st.integers(1, 30), st.integers(0, 2**31))
def test_equally_sure_images_have_no_order(count, seed):
    random = np.random.default_rng(seed)
    confidence, correct = random.choice([0.3, 0.6, 0.9], count), random.random(count) < 0.5
    order = random.permutation(count)
    risks = selective.risk_at_each_coverage(confidence, correct)
    np.testing.assert_allclose(selective.risk_at_each_coverage(confidence[order], correct[order]), risks, atol=1e-12)
    assert risks[-1] == pytest.approx(1 - correct.mean())


def test_several_right_labels_by_hand(tmp_path):
    ids = [b"n1/ILSVRC2012_val_%08d.JPEG" % number for number in (1, 2, 3, 4)]
    source = source_of([0, 0, 0, 0], ["n1"], ids)
    predictor = Answers(np.eye(3)[[0, 1, 2, 1]], ["n1", "n2", "n3"])
    write_json(tmp_path / "real.json", [[0, 2], [0], [1, 2], []])
    result = several_labels.evaluate(
        predictor, source, everything(source), {"right_labels": str(tmp_path / "real.json")}
    )
    assert result == {"count": 3, "correct": 2, "top1": 2 / 3, "without_label": 1}
    by_name = {
        "ILSVRC2012_val_00000001.JPEG": ["n1"],
        ids[1].decode(): ["n2"],
        ids[2].decode(): [],
        ids[3].decode(): [],
    }
    write_json(tmp_path / "names.json", by_name)
    result = several_labels.evaluate(
        predictor, source, everything(source), {"right_labels": str(tmp_path / "names.json")}
    )
    assert (result["count"], result["correct"]) == (2, 2)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([[0]], "no entry for n1/ILSVRC2012_val_00000002"),
        ([[0], [3]], "the label 3, which is none of the 3 classes"),
        ({"ILSVRC2012_val_00000001.JPEG": ["n1"]}, "no entry for n1/ILSVRC2012_val_00000002"),
        ([[], []], "no image of made has a right label"),
        (None, "there is no such file"),
    ],
)
def test_bad_right_labels(tmp_path, content, words):
    source = source_of([0, 0], ["n1"], [b"n1/ILSVRC2012_val_%08d.JPEG" % number for number in (1, 2)])
    if content is not None:
        write_json(tmp_path / "real.json", content)
    with pytest.raises(UserError, match=words):
        several_labels.evaluate(
            Answers(np.eye(3)[:2], ["n1", "n2", "n3"]),
            source,
            everything(source),
            {"right_labels": str(tmp_path / "real.json")},
        )


def test_the_answer_is_one_of_the_classes_that_count():
    """The best class of all is b; between a and c it is c."""
    predictor = Answers([[0.1, 0.6, 0.3], [0.3, 0.4, 0.3]], "abc")
    source = source_of([1, 0], ["a", "c"])
    result = own_classes.evaluate(predictor, source, everything(source), {"classes": ()})
    assert (result["count"], result["correct"]) == (2, 1)  # the second ties, and ranks behind
    assert result["predictions"].class_names == ("a", "c")


def test_published_classes_by_name():
    names = wordnet_ids()
    predictor = types.SimpleNamespace(class_names=tuple(names))
    chosen = own_classes.chosen_classes(("imagenet_a",), source_of([0], [names[6]]), predictor.class_names)
    assert len(chosen) == 200 and chosen[0] == names[6]
    with pytest.raises(UserError, match="the model has 10"):
        own_classes.chosen_classes(("imagenet_r",), source_of([0], ["x"]), tuple("abcdefghij"))
    whole = Source("tfds:imagenet_a/test", 3, tuple(names), None, None)
    with pytest.raises(UserError, match="has all 1000 classes"):
        own_classes.chosen_classes((), whole, tuple(names))


def test_folders_that_are_called_by_their_number():
    names = tuple(wordnet_ids())
    numbered = source_of([0, 1, 2], ["0", "10", "999"])
    assert label_columns(numbered, names).tolist() == [0, 10, 999]
    with pytest.raises(UserError, match="the class '1000', which is none of the 1000"):
        labels_among(source_of([0], ["1000"]), names)
    assert label_columns(source_of([0], ["3"]), tuple("0123")).tolist() == [3]  # a name first of all
