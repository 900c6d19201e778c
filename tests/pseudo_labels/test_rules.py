from typing import NamedTuple

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.stats
from hypothesis import assume

from ns_jax.errors import UserError
from ns_jax.pseudo_labels import boundary
from ns_jax.pseudo_labels.boundary import score_key
from ns_jax.pseudo_labels.chunks import Chunk, Labels
from ns_jax.pseudo_labels.draws import draw_by_id, draw_by_index, draw_share
from ns_jax.pseudo_labels.rules import SELECTION_RULES, SelectionSettings, apply_rule, in_chunks
from ns_jax.pseudo_labels.scores import certainty_of, entropy, margin
from tests.pseudo_labels import reference

CLASSES = 5
LEVELS = [0.0, 0.25, 0.3, 0.5, 0.75, 1.0, 1.0000001]  # few distinct values, so that ties happen


def all_labels(label, confidence, random, probs=None, chunks=3, classes=CLASSES, threads=1) -> Labels:
    """Pseudo-labels in memory, in some chunks; without `probs` rules of the confidence alone can read them."""
    probs = np.zeros((len(label), classes), np.float32) if probs is None else probs
    columns = {
        "label": label,
        "confidence": confidence,
        "margin": margin(probs) if probs.any() else confidence,
        "entropy": entropy(probs) if probs.any() else confidence.astype(np.float64),
        "index": np.arange(len(label)),
    }

    def chunk(places: np.ndarray) -> Chunk:
        sums = probs[places].sum(0, dtype=np.float64)
        column = lambda name: sums if name == "sum_of_probs" else columns[name][places]
        draw = lambda where: random[places] if where is None else random[places][where]
        return Chunk(int(places[0]), len(places), column, draw, (), lambda: iter([probs[places]]))

    parts = [places for places in np.array_split(np.arange(len(label)), chunks) if len(places)]
    ids = np.array([f"image-{number}".encode() for number in range(len(label))])
    return Labels(classes, [lambda places=places: chunk(places) for places in parts], lambda: ids, threads)


def copies_by(rule: str, labels: Labels, settings: SelectionSettings) -> np.ndarray:
    return np.concatenate(list(labels.map(apply_rule(rule, labels, settings))))


class Case(NamedTuple):
    label: np.ndarray
    confidence: np.ndarray
    random: np.ndarray
    probs: np.ndarray
    settings: SelectionSettings

    @property
    def labels(self) -> Labels:
        return all_labels(self.label, self.confidence, self.random, self.probs)

    def expected(self, rule: str) -> np.ndarray:
        """As with all images in memory."""
        if rule == "official":
            return reference.thin(self.label, self.confidence, self.random, CLASSES, self.settings)
        score = {"margin": margin, "entropy": certainty}.get(rule, lambda probs: self.confidence)(self.probs)
        parts = [part for part in np.array_split(self.probs, 3) if len(part)]
        wanted = reference.images_of_classes(parts, CLASSES, self.settings)
        return reference.filter_and_balance(self.label, score, self.random, wanted, self.settings)


def certainty(probs: np.ndarray) -> np.ndarray:
    return certainty_of(entropy(probs), probs.shape[1])


@st.composite
def cases(draw):
    count = draw(st.integers(1, 60))
    probs = draw(hnp.arrays(np.float32, (count, CLASSES), elements=st.sampled_from([0.0, 0.125, 0.25, 0.5, 1.0])))
    probs = (probs + np.float32(1e-3)) / (probs + np.float32(1e-3)).sum(1, keepdims=True)
    label = draw(hnp.arrays(np.int32, count, elements=st.integers(0, CLASSES - 1)))
    confidence = draw(hnp.arrays(np.float32, count, elements=st.sampled_from(LEVELS)))
    random = draw_by_id(np.array([f"id-{number}".encode() for number in range(count)]), draw(st.integers(0, 9)))
    settings = SelectionSettings(
        min_confidence=draw(st.sampled_from([0.0, 0.3, 0.5])),
        max_confidence=draw(st.sampled_from([0.75, 1.0])),
        images_per_class=draw(st.integers(0, 20)),
        balance=draw(st.sampled_from(["equal", "prior"])),
    )
    if draw(st.booleans()):  # ties of random numbers, too: then the place decides
        random &= np.uint64(3 << 62 | 1)
    return Case(label, confidence, random, probs, settings)


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(cases(), st.sampled_from([0, 3, 10**6]), st.sampled_from(sorted(SELECTION_RULES)))
def test_rules_equal_those_with_all_images_in_memory(case, most_sorted, rule):
    """Whether the last images are found by histograms alone, by one and a sort, or by sorting all."""
    if rule == "official":
        assume(case.settings.images_per_class and case.settings.balance == "equal")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boundary, "SORTED", most_sorted)
        patch.setattr(boundary, "CELLS", 16 * CLASSES)
        copies = copies_by(rule, case.labels, case.settings)
    assert copies.dtype == np.uint32
    np.testing.assert_array_equal(copies, case.expected(rule))


@pytest.mark.parametrize("rule", ["confidence", "official"])
@pytest.mark.parametrize("saturated", [0.0, 0.7])
def test_many_images_in_chunks_by_threads(rule, saturated, monkeypatch):
    """A long tail of classes, a part of the images as sure as can be; several rounds of histograms."""
    generator, count, classes = np.random.default_rng(0), 60_000, 40
    shares = 1 / np.arange(1, classes + 1)
    label = generator.choice(classes, count, p=shares / shares.sum()).astype(np.uint16)
    confidence = generator.beta(3, 1, count).astype(np.float32)
    confidence[generator.random(count) < saturated] = 1
    random = draw_by_index(np.arange(count), 3)
    monkeypatch.setattr(boundary, "SORTED", 500)
    monkeypatch.setattr(boundary, "CELLS", 64 * classes)
    labels = all_labels(label, confidence, random, chunks=23, classes=classes, threads=3)
    settings = SelectionSettings(min_confidence=0.3, images_per_class=1500)
    copies = copies_by(rule, labels, settings)
    if rule == "official":
        expected = reference.thin(label, confidence, random, classes, settings)
    else:
        expected = reference.filter_and_balance(label, confidence, random, [1500] * classes, settings)
        assert np.bincount(label, copies).tolist() == [1500] * classes
    np.testing.assert_array_equal(copies, expected)


def test_the_order_of_scores_is_that_of_their_keys():
    scores = np.array([1.0000001, 1, 0.9999999, 0.5, 1e-40, 0, -0.0, -1e-40, -1, -2], np.float32)
    keys = score_key(scores)
    assert keys.dtype == np.uint32 and (np.diff(keys.astype(np.int64)) >= 0).all()
    assert (np.diff(keys.astype(np.int64)) == 0).tolist() == (np.diff(scores) == 0).tolist()


@hypothesis.given(hnp.arrays(np.float32, (7, CLASSES), elements=st.floats(0.0, 1.0, width=16)))
def test_scores_are_in_0_to_1_and_equal_their_definitions(values):
    probs = (values + np.float32(1e-3)) / (values + np.float32(1e-3)).sum(1, keepdims=True)
    ranked = np.sort(probs, 1)
    np.testing.assert_array_equal(margin(probs), ranked[:, -1] - ranked[:, -2])
    expected = 1 - scipy.stats.entropy(probs.astype(np.float64), axis=1) / np.log(CLASSES)
    np.testing.assert_allclose(certainty(probs), expected, atol=1e-6)
    for score in (margin(probs), certainty(probs)):
        assert score.dtype == np.float32 and (score >= 0).all() and (score <= 1).all()


def test_scores_of_the_sure_the_unsure_and_a_single_class():
    probs = np.array([[0, 1, 0], [1 / 3] * 3, [0.5, 0.5, 0]], np.float32)
    np.testing.assert_allclose(margin(probs), [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(certainty(probs), [1, 0, 1 - np.log(2) / np.log(3)], atol=1e-6)
    single = np.ones((2, 1), np.float32)
    assert margin(single).tolist() == certainty(single).tolist() == [1, 1]


def test_without_balancing_everything_above_the_threshold_is_kept_once():
    confidence = np.array([0.9, 0.3, 0.31], np.float32)
    labels = all_labels(np.array([0, 0, 1]), confidence, np.arange(3, dtype=np.uint64))
    assert copies_by("confidence", labels, SelectionSettings(min_confidence=0.3)).tolist() == [1, 0, 1]


def test_without_an_upper_threshold_no_confidence_is_too_high():
    """A softmax can round to more than 1."""
    confidence = np.array([1.0000001, 1.0, 0.9], np.float32)
    labels = all_labels(np.zeros(3, np.int32), confidence, np.arange(3, dtype=np.uint64))
    assert copies_by("confidence", labels, SelectionSettings()).tolist() == [1, 1, 1]
    assert copies_by("confidence", labels, SelectionSettings(max_confidence=0.9375)).tolist() == [0, 0, 1]


COPIES = hnp.arrays(np.uint32, st.integers(1, 300), elements=st.integers(0, 9))


@hypothesis.given(COPIES, st.floats(1e-3, 1.0), st.floats(1e-3, 1.0))
def test_a_share_rounds_the_copies_of_each_image(copies, share, larger):
    random = draw_by_id(np.array([f"id-{number}".encode() for number in range(len(copies))]), 0)
    share, larger = sorted((share, larger))
    drawn = draw_share(copies, random, share)
    assert drawn.dtype == np.uint32
    assert (np.abs(drawn - copies * share) < 1).all()
    assert (drawn <= draw_share(copies, random, larger)).all()
    np.testing.assert_array_equal(draw_share(copies, random, 1.0), copies)


def test_a_share_of_the_balanced_set_keeps_its_confidence_and_its_classes():
    """Drawn before the balance, the share of an over-full class would reach deeper into what is unsure."""
    generator, count = np.random.default_rng(0), 40_000
    random = draw_by_id(np.array([f"id-{number}".encode() for number in range(count)]), 0)
    label = generator.integers(0, 2, count).astype(np.int32)
    confidence = generator.uniform(0.3, 1.0, count).astype(np.float32)
    labels = all_labels(label, confidence, random, classes=2)
    whole = copies_by("confidence", labels, SelectionSettings(images_per_class=4000))
    share = draw_share(whole, random, 1 / 4)
    mean = lambda copies: np.average(confidence, weights=copies)
    assert mean(share) == pytest.approx(mean(whole), abs=0.003)
    per_class = np.bincount(label, share)
    assert per_class == pytest.approx([1000, 1000], abs=120)  # 4 standard deviations
    # An image with a copy more than the others of its class is not more likely to lose one.
    duplicated = copies_by("confidence", labels, SelectionSettings(min_confidence=0.9, images_per_class=4000))
    for copies in (1, 2):
        drawn = draw_share(duplicated, random, 1 / 4)[duplicated == copies]
        assert drawn.mean() == pytest.approx(copies / 4, abs=0.05)


def test_random_numbers_depend_on_seed_and_id_alone():
    ids = np.array([b"a", b"b", b"c"])
    assert draw_by_id(ids, 1)[2] == draw_by_id(ids[2:], 1)[0] != draw_by_id(ids, 2)[2]
    assert draw_by_id(ids, 0).dtype == np.uint64
    assert draw_by_id(ids[:1], 0)[0] == 4180199910021036473  # for ever: selections depend on it


def test_random_numbers_of_indices():
    indices = np.arange(1000)
    drawn = draw_by_index(indices, 1)
    assert drawn.dtype == np.uint64 and len(np.unique(drawn)) == 1000
    np.testing.assert_array_equal(draw_by_index(indices[500:][::-1], 1), drawn[500:][::-1])
    assert draw_by_index(np.array([0, 299_999_999]), 0).tolist() == [
        14979739701327167937,
        2967451295168301109,
    ]  # for ever: selections depend on it
    for bits in ((drawn >> np.uint64(shift)) & np.uint64(1) for shift in range(64)):
        assert 400 < bits.sum() < 600
    assert abs(np.corrcoef(drawn, draw_by_index(indices, 2))[0, 1]) < 0.15


# Rules of one's own, by import path.
def keep_all_twice(labels, settings):
    return np.full(len(labels.ids), 2, np.int64)


def one_too_few(labels, settings):
    return np.ones(len(labels.ids) - 1, np.uint32)


def a_mask(labels, settings):
    return labels.confidence > 0.5


def half_copies(labels, settings):
    return np.full(len(labels.ids), 0.5)


def negative(labels, settings):
    return np.full(len(labels.ids), -1)


@in_chunks
def one_short_in_a_chunk(labels, settings):
    return lambda chunk: np.ones(len(chunk) - 1, np.uint32)


@in_chunks
def above_the_mean_of_the_class(labels, settings):
    """In two passes over the chunks, the second of which is that of the framework."""
    sums, counts = np.zeros(labels.num_classes), np.zeros(labels.num_classes)
    for label, confidence in labels.map(lambda chunk: (chunk["label"], chunk["confidence"])):
        sums += np.bincount(label, confidence, labels.num_classes)
        counts += np.bincount(label, minlength=labels.num_classes)
    mean = sums / np.maximum(counts, 1)
    return lambda chunk: (chunk["confidence"] > mean[chunk["label"]]).astype(np.uint8)


def test_a_rule_of_ones_own_in_chunks():
    confidence = np.array([0.4, 0.6, 0.7, 0.9, 0.1], np.float32)
    labels = all_labels(np.array([0, 0, 1, 1, 2]), confidence, np.arange(5, dtype=np.uint64))
    copies = copies_by(f"{__name__}:above_the_mean_of_the_class", labels, SelectionSettings())
    assert copies.dtype == np.uint32 and copies.tolist() == [0, 1, 0, 1, 0]


def test_a_rule_of_ones_own_and_what_it_may_not_return():
    labels = all_labels(np.zeros(3, np.int32), np.ones(3, np.float32), np.arange(3, dtype=np.uint64))
    copies = copies_by(f"{__name__}:keep_all_twice", labels, SelectionSettings())
    assert copies.dtype == np.uint32 and copies.tolist() == [2, 2, 2]
    for rule, message in (
        ("one_too_few", r"one_too_few'.*shape \[2\].* 3 images"),
        ("a_mask", "a_mask'.*returns bool"),
        ("half_copies", "half_copies'.*returns float64"),
        ("negative", "negative'.*returns -1"),
        ("no_such_rule", "has no 'no_such_rule'"),
        ("one_short_in_a_chunk", r"one_short_in_a_chunk'.*shape \[0\].* 1 images"),
    ):
        with pytest.raises(UserError, match=message):
            copies_by(f"{__name__}:{rule}", labels, SelectionSettings())
    with pytest.raises(UserError, match="selection rule 'confidense': did you mean 'confidence'"):
        apply_rule("confidense", labels, SelectionSettings())


def test_balance_by_the_estimated_prior():
    rng = np.random.default_rng(0)
    probs = rng.dirichlet([8, 4, 2, 1, 1], 4000).astype(np.float32)
    label, confidence = probs.argmax(1).astype(np.int32), probs.max(1)
    random = draw_by_id(np.array([f"id-{number}".encode() for number in range(4000)]), 0)
    labels = all_labels(label, confidence, random, probs)
    copies = copies_by("confidence", labels, SelectionSettings(0.0, 1.0, 100, balance="prior"))
    per_class = np.bincount(label, copies, CLASSES)
    np.testing.assert_allclose(per_class, 500 * probs.mean(0) / probs.mean(0).sum(), atol=0.51)
    equal = copies_by("confidence", labels, SelectionSettings(0.0, 1.0, 100))
    assert np.bincount(label, equal, CLASSES).tolist() == [100] * CLASSES
