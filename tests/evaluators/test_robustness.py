"""Corruption errors and flips against figures counted by hand, and against published ones."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from ns_jax.artifact.class_names import wordnet_ids
from ns_jax.data.corruptions.sequences import PERTURBATIONS
from ns_jax.data.corruptions.tables import CORRUPTIONS, SETTINGS, nearest_table
from ns_jax.errors import UserError
from ns_jax.evaluators.own_classes import published_subsets
from ns_jax.evaluators.robustness import (
    ALEXNET_ERRORS,
    ALEXNET_FLIPS,
    are_flips,
    mean_corruption_error,
    relative_mean,
    top5_distances,
)

# Raw flips of ResNeXt-101 32x48d WSL, in the order of PERTURBATIONS: eminorhan/resnext-wsl, results/imagenet_p.
WSL_FLIPS = (0.058465, 0.069914, 0.028425, 0.023230, 0.036669, 0.015357, 0.024161, 0.034686, 0.021485, 0.046195)
# Mean errors of AlexNet that google-research/augmix has, imagenet.py.
AUGMIX_MEANS = {
    "gaussian_noise": 0.886428, "shot_noise": 0.894468, "impulse_noise": 0.922640, "defocus_blur": 0.819880,
    "glass_blur": 0.826268, "motion_blur": 0.785948, "zoom_blur": 0.798360, "snow": 0.866816, "frost": 0.826572,
    "fog": 0.819324, "brightness": 0.564592, "contrast": 0.853204, "elastic_transform": 0.646056, "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}  # fmt: skip


def test_alexnet_has_100_percent_of_itself():
    assert mean_corruption_error(ALEXNET_ERRORS, ALEXNET_ERRORS) == pytest.approx(100.0, abs=1e-9)
    assert relative_mean(ALEXNET_FLIPS, ALEXNET_FLIPS, "flips") == pytest.approx(100.0, abs=1e-9)


def test_the_constants_are_those_of_other_sources():
    assert tuple(ALEXNET_ERRORS) == CORRUPTIONS and tuple(ALEXNET_FLIPS) == PERTURBATIONS
    for name, errors in ALEXNET_ERRORS.items():
        assert np.mean(errors) == pytest.approx(AUGMIX_MEANS[name], abs=1e-5)
    flips = dict(zip(PERTURBATIONS, WSL_FLIPS, strict=True))
    assert relative_mean(flips, ALEXNET_FLIPS, "flips") == pytest.approx(27.83, abs=0.005)


def test_mce_of_three_images_by_hand():
    """Two corruptions, two severities: 1, 2, 3, 3 of 3 images wrong; the baseline 2, 2, 2, 3."""
    errors = {"fog": [1 / 3, 2 / 3], "snow": [3 / 3, 3 / 3]}
    baseline = {"fog": [2 / 3, 2 / 3], "snow": [2 / 3, 3 / 3]}
    # Sums over severities: (1/3 + 2/3) / (2/3 + 2/3) = 3/4 and 2 / (5/3) = 6/5.
    assert mean_corruption_error(errors, baseline) == pytest.approx(100 * (3 / 4 + 6 / 5) / 2)


@pytest.mark.parametrize(
    ("baseline", "words"),
    [({"fog": [0.0, 0.0]}, "error of fog is zero"), ({"snow": [0.1, 0.1]}, "the baseline has no error of fog")],
)
def test_impossible_baselines(baseline, words):
    with pytest.raises(UserError, match=words):
        mean_corruption_error({"fog": [0.5, 0.5]}, baseline)


def test_flips_by_hand():
    answers = np.array([[1, 1, 2, 1], [3, 4, 4, 4]])
    # Between neighbours: same, flip, flip; flip, same, same. Against the first: same, flip, same; flip, flip, flip.
    assert are_flips(answers, "rotate").tolist() == [[False, True, True], [True, False, False]]
    assert are_flips(answers, "shot_noise").tolist() == [[False, True, False], [True, True, True]]


def test_top5_distance_by_hand():
    first, swapped, gone = [0, 1, 2, 3, 4], [1, 0, 2, 3, 4], [1, 0, 2, 3, 9]
    ranked = np.array([[first, swapped, gone]])
    # Two places swapped: 1 + 1. Place 4 (from 0) leaves the five: |4 - 5|.
    assert top5_distances(ranked, "tilt").tolist() == [[2, 1]]
    assert top5_distances(ranked, "gaussian_noise").tolist() == [[2, 3]]


def official_distance(before: np.ndarray, after: np.ndarray) -> int:
    """The definition of hendrycks/robustness, ImageNet-P/test.py, in terms of ranks of all classes."""
    classes = len(before)
    rank = lambda scores: np.argsort(np.argsort(-scores, kind="stable")) + 1
    among_first = np.minimum(np.arange(classes), 5)  # how many of the first five rank above
    sigma = rank(after)[np.argsort(rank(before))]
    return int(np.abs(among_first[:5] - among_first[sigma - 1][:5]).sum())


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(st.integers(6, 12), st.integers(0, 2**31))
def test_top5_distance_is_the_official_one(classes, seed):
    scores = np.random.default_rng(seed).random((3, classes))
    ranked = np.argsort(-scores, axis=1, kind="stable")[None, :, :5]
    want = [official_distance(scores[0], scores[1]), official_distance(scores[1], scores[2])]
    assert top5_distances(ranked, "scale").tolist() == [want]


def test_published_subsets():
    """Against WordNet ids that the official lists begin and end with, and their numbers of classes."""
    names = wordnet_ids()
    of_a, of_r = ([names[place] for place in published_subsets()[name]] for name in ("imagenet_a", "imagenet_r"))
    assert len(set(of_a)) == len(set(of_r)) == 200
    assert (of_a[0], of_a[-1]) == ("n01498041", "n12267677")  # stingray, acorn
    assert (of_r[0], of_r[-1]) == ("n01443537", "n12267677")  # goldfish, acorn
    assert len(set(of_a) & set(of_r)) == 86
    assert "n01558993" in of_a and "n01558993" not in of_r  # robin
    assert "n10565667" in of_r and "n10565667" not in of_a  # scuba diver


def test_tables_of_every_size_have_every_corruption():
    for table in SETTINGS.values():
        assert tuple(table) == CORRUPTIONS and all(len(settings) == 5 for settings in table.values())
    assert [nearest_table(size) for size in (16, 28, 45, 46, 96, 128, 224, 260, 600)] == [
        32, 32, 32, 64, 64, 224, 224, 299, 299,
    ]  # fmt: skip
