"""What is drawn, and that what is drawn is applied."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from sklearn.datasets import load_sample_image

from ns_jax.data.ops.randaugment.operation import FORMS, apply_randaugment, draw_operations, get_operations, randaugment
from ns_jax.data.ops.randaugment.reference import Magnitude
from ns_jax.data.ops.randaugment.sets import DIGITS, OFFICIAL, RANDAUGMENT_SETS, get_set
from ns_jax.data.ops.registry import Augmentation, RandAugmentSettings
from ns_jax.data.ops.seeds import simple_draws
from ns_jax.errors import UserError


def invert_half(image, magnitude, draw):
    """An operation of one's own: needs neither magnitude nor draw."""
    return tf.concat([255 - image[:10], image[10:]], 0)


OWN_SET = ("Rotate", invert_half)
NOT_A_SET = ["Rotate"]
WITH_A_MISTAKE = ("Rotate", "CutOut")


@pytest.fixture(scope="module")
def photo():
    return tf.constant(load_sample_image("china.jpg")[100:196, 200:296])


def seeds(number):
    return tf.stack([tf.fill([number], tf.constant(2 << 32, tf.int64)), tf.range(number, dtype=tf.int64)], 1)


def assert_uniform(draws, values: int):
    """Chi-squared, at 0.1 %."""
    counts = np.bincount(draws.ravel(), minlength=values)
    assert len(counts) == values
    assert scipy.stats.chisquare(counts).pvalue > 0.001


@pytest.mark.parametrize("available", [16, 14])
def test_100_000_operations_and_their_signs_are_drawn_uniformly(available):
    every = tf.function(
        lambda seeds: tf.map_fn(
            lambda seed: draw_operations(seed, 2, available), seeds, fn_output_signature=(tf.int32, tf.float32)
        )
    )
    choices, draws = (part.numpy() for part in every(seeds(50_000)))
    assert_uniform(choices, available)
    assert_uniform(choices @ [available, 1], available**2)  # the second does not depend on the first
    assert_uniform(2 * choices + (draws[..., 0] < 0.5), 2 * available)  # nor the sign on the operation


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["official", "digits", f"{__name__}:OWN_SET"])
def test_the_drawn_operations_are_applied_in_order(photo, form, name):
    settings = RandAugmentSettings(2, 17.0, name, form)
    operations = [FORMS[form][entry] if isinstance(entry, str) else entry for entry in get_set(name)]
    applied = tf.function(lambda seed: apply_randaugment(photo, seed, settings))
    chosen = set()
    for seed in seeds(60):
        expected, (choices, draws) = photo, draw_operations(seed, 2, len(operations))
        for choice, draw in zip(choices, draws, strict=True):
            chosen.add(int(choice))
            expected = operations[choice](expected, Magnitude(17.0, 96), draw)
        np.testing.assert_array_equal(applied(seed), expected)
    assert chosen == set(range(len(operations)))


def test_the_same_seed_gives_the_same_image(photo):
    settings = RandAugmentSettings(2, 10.0)
    first, again, other = (apply_randaugment(photo, tf.constant([1, seed], tf.int64), settings) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == tf.uint8 and first.shape == photo.shape and (first != other).numpy().any()


def test_the_operation_takes_its_settings_from_the_augmentation(photo):
    seed = tf.constant([3, 0], tf.int64)  # draws Contrast, then Posterize
    views = {}
    for form in FORMS:
        settings = RandAugmentSettings(2, 27.0, "official", form)
        views[form] = randaugment(photo, seed, Augmentation(("randaugment",), settings)).numpy()
        np.testing.assert_array_equal(views[form], apply_randaugment(photo, seed + [2 << 32, 0], settings))
    assert (views["reference"] != views["pillow"]).any()
    nothing = Augmentation(("randaugment",), RandAugmentSettings(0))
    np.testing.assert_array_equal(randaugment(photo, seed, nothing), photo)


def test_published_sets_never_change():
    """Operations are drawn by position: another order, or one more, would change every published recipe."""
    assert dict(RANDAUGMENT_SETS) == {"official": OFFICIAL, "digits": DIGITS}
    assert (
        *("AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "Color", "Contrast", "Brightness"),
        *("Sharpness", "ShearX", "ShearY", "TranslateX", "TranslateY", "Cutout", "SolarizeAdd"),
    ) == OFFICIAL
    recolour = {"AutoContrast", "Color", "Contrast", "Equalize", "Invert", "Solarize", "SolarizeAdd"}
    assert tuple(name for name in OFFICIAL if name not in recolour) == DIGITS
    with pytest.raises(TypeError):
        RANDAUGMENT_SETS["official"] = DIGITS


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"form": "pilow"}, "randaugment_form 'pilow': did you mean 'pillow'"),
        ({"set": "offical"}, "RandAugment set 'offical': did you mean 'official'"),
        ({"set": f"{__name__}:NOT_A_SET"}, "must be a tuple of names and functions, not list"),
        ({"set": f"{__name__}:WITH_A_MISTAKE"}, "RandAugment operation 'CutOut': did you mean 'Cutout'"),
    ],
)
def test_names_that_do_not_exist(settings, message):
    with pytest.raises(UserError, match=message):
        get_operations(RandAugmentSettings(**settings))


def test_draws_never_change():
    """What a seed draws is part of every published recipe."""
    choices = [draw_operations(tf.constant([2 << 32, seed], tf.int64), 2, 16)[0].numpy().tolist() for seed in range(6)]
    assert choices == [[13, 6], [4, 12], [4, 8], [8, 2], [2, 15], [13, 15]]
    draws = simple_draws(tf.constant([5, 7], tf.int64))
    np.testing.assert_allclose(draws, [0.12039495, 0.12778854, 0.6554501, 0.61886311, 0.26809239], rtol=1e-6)
