import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.stats

from ns_jax.errors import UserError
from ns_jax.pseudo_labels.draws import draw_by_id, draw_share
from ns_jax.pseudo_labels.rules import SELECTION_RULES, PseudoLabels, SelectionSettings, apply_rule
from ns_jax.pseudo_labels.scores import certainty, margin

CLASSES = 5
LEVELS = [0.0, 0.25, 0.3, 0.5, 0.75, 1.0, 1.0000001]  # few distinct values, so that ties happen


def pseudo_labels(label, confidence, random, probs=None):
    ids = np.array([f"image-{number}".encode() for number in range(len(label))])
    parts = [] if probs is None else np.array_split(probs, 3)
    return PseudoLabels(ids, label, confidence, random, CLASSES, lambda: iter(parts))


def permuted(labels: PseudoLabels, order: np.ndarray) -> PseudoLabels:
    parts = list(labels.probabilities())
    probs = [np.concatenate(parts)[order]] if parts else []
    return PseudoLabels(
        labels.ids[order],
        labels.label[order],
        labels.confidence[order],
        labels.random[order],
        CLASSES,
        lambda: iter(probs),
    )


@st.composite
def labels_and_settings(draw):
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
    )
    return pseudo_labels(label, confidence, random, probs), settings


def plain_copies(labels: PseudoLabels, score: np.ndarray, settings: SelectionSettings) -> list[int]:
    """The paper's filter and balance, one image at a time."""
    copies = [0] * len(labels.ids)
    for number in range(labels.num_classes):
        members = []
        for image in range(len(copies)):
            below = settings.max_confidence >= 1 or score[image] <= np.float32(settings.max_confidence)
            if labels.label[image] == number and score[image] > np.float32(settings.min_confidence) and below:
                members.append(image)
        if not settings.images_per_class:
            best = members
        elif len(members) >= settings.images_per_class:
            best = sorted(members, key=lambda image: (-score[image], labels.random[image]))
            best = best[: settings.images_per_class]
        else:
            drawn_first = sorted(members, key=lambda image: labels.random[image])
            best = [drawn_first[turn % len(members)] for turn in range(settings.images_per_class) if members]
        for image in best:
            copies[image] += 1
    return copies


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(labels_and_settings())
def test_confidence_equals_a_plain_definition(case):
    labels, settings = case
    copies = apply_rule("confidence", labels, settings)
    assert copies.dtype == np.uint32
    assert copies.tolist() == plain_copies(labels, labels.confidence, settings)


@hypothesis.settings(max_examples=50, deadline=None)
@hypothesis.given(labels_and_settings())
def test_margin_and_entropy_filter_and_balance_in_the_same_way(case):
    labels, settings = case
    probs = np.concatenate(list(labels.probabilities()))
    for name, score in (("margin", margin(probs)), ("entropy", certainty(probs))):
        assert apply_rule(name, labels, settings).tolist() == plain_copies(labels, score, settings)


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(labels_and_settings(), st.randoms(use_true_random=False))
def test_the_order_of_the_images_does_not_matter(case, random):
    labels, settings = case
    order = np.array(random.sample(range(len(labels.ids)), len(labels.ids)))
    for name in SELECTION_RULES:
        copies = apply_rule(name, labels, settings)
        np.testing.assert_array_equal(apply_rule(name, permuted(labels, order), settings), copies[order])


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
    labels = pseudo_labels(np.array([0, 0, 1]), confidence, np.arange(3, dtype=np.uint64))
    assert apply_rule("confidence", labels, SelectionSettings(min_confidence=0.3)).tolist() == [1, 0, 1]


def test_without_an_upper_threshold_no_confidence_is_too_high():
    """A softmax can round to more than 1."""
    confidence = np.array([1.0000001, 1.0, 0.9], np.float32)
    labels = pseudo_labels(np.zeros(3, np.int32), confidence, np.arange(3, dtype=np.uint64))
    assert apply_rule("confidence", labels, SelectionSettings()).tolist() == [1, 1, 1]
    assert apply_rule("confidence", labels, SelectionSettings(max_confidence=0.9375)).tolist() == [0, 0, 1]


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
    ids = np.array([f"id-{number}".encode() for number in range(count)])
    labels = PseudoLabels(
        ids,
        label=generator.integers(0, 2, count).astype(np.int32),
        confidence=generator.uniform(0.3, 1.0, count).astype(np.float32),
        random=draw_by_id(ids, 0),
        num_classes=2,
        probabilities=lambda: iter(()),
    )
    whole = apply_rule("confidence", labels, SelectionSettings(images_per_class=4000))
    share = draw_share(whole, labels.random, 1 / 4)
    mean = lambda copies: np.average(labels.confidence, weights=copies)
    assert mean(share) == pytest.approx(mean(whole), abs=0.003)
    per_class = np.bincount(labels.label, share)
    assert per_class == pytest.approx([1000, 1000], abs=120)  # 4 standard deviations
    # An image with a copy more than the others of its class is not more likely to lose one.
    duplicated = apply_rule("confidence", labels, SelectionSettings(min_confidence=0.9, images_per_class=4000))
    for copies in (1, 2):
        drawn = draw_share(duplicated, labels.random, 1 / 4)[duplicated == copies]
        assert drawn.mean() == pytest.approx(copies / 4, abs=0.05)


def test_random_numbers_depend_on_seed_and_id_alone():
    ids = np.array([b"a", b"b", b"c"])
    assert draw_by_id(ids, 1)[2] == draw_by_id(ids[2:], 1)[0] != draw_by_id(ids, 2)[2]
    assert draw_by_id(ids, 0).dtype == np.uint64
    assert draw_by_id(ids[:1], 0)[0] == 4180199910021036473  # for ever: selections depend on it


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


def test_a_rule_of_ones_own_and_what_it_may_not_return():
    labels = pseudo_labels(np.zeros(3, np.int32), np.ones(3, np.float32), np.arange(3, dtype=np.uint64))
    copies = apply_rule(f"{__name__}:keep_all_twice", labels, SelectionSettings())
    assert copies.dtype == np.uint32 and copies.tolist() == [2, 2, 2]
    for rule, message in (
        ("one_too_few", r"one_too_few'.*shape \[2\].* 3 images"),
        ("a_mask", "a_mask'.*returns bool"),
        ("half_copies", "half_copies'.*returns float64"),
        ("negative", "negative'.*returns -1"),
        ("no_such_rule", "has no 'no_such_rule'"),
    ):
        with pytest.raises(UserError, match=message):
            apply_rule(f"{__name__}:{rule}", labels, SelectionSettings())
    with pytest.raises(UserError, match="selection rule 'confidense': did you mean 'confidence'"):
        apply_rule("confidense", labels, SelectionSettings())


def test_balance_by_the_estimated_prior():
    rng = np.random.default_rng(0)
    probs = rng.dirichlet([8, 4, 2, 1, 1], 4000).astype(np.float32)
    label, confidence = probs.argmax(1).astype(np.int32), probs.max(1)
    random = draw_by_id(np.array([f"id-{number}".encode() for number in range(4000)]), 0)
    labels = pseudo_labels(label, confidence, random, probs)
    copies = apply_rule("confidence", labels, SelectionSettings(0.0, 1.0, 100, balance="prior"))
    per_class = np.bincount(label, copies, CLASSES)
    np.testing.assert_allclose(per_class, 500 * probs.mean(0) / probs.mean(0).sum(), atol=0.51)
    equal = apply_rule("confidence", labels, SelectionSettings(0.0, 1.0, 100))
    assert np.bincount(label, equal, CLASSES).tolist() == [100] * CLASSES
