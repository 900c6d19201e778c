"""What is drawn, and that what is drawn is applied."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from sklearn.datasets import load_sample_image

from ns_jax.configs import common, mnist5k
from ns_jax.data.preprocess import train_image
from ns_jax.data.randaugment import FORMS, check_names, draw_operations, randaugment
from ns_jax.data.randaugment_reference import Magnitude
from ns_jax.errors import UserError
from ns_jax.experiment.config import validate


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
@pytest.mark.parametrize("exclude", [(), ("SolarizeAdd", "Cutout")])
def test_the_drawn_operations_are_applied_in_order(photo, form, exclude):
    names = [name for name in FORMS[form] if name not in exclude]
    applied = tf.function(lambda seed: randaugment(photo, seed, 2, 17.0, exclude, form))
    seen = set()
    for seed in seeds(60):
        expected, (choices, draws) = photo, draw_operations(seed, 2, len(names))
        for choice, draw in zip(choices, draws, strict=True):
            seen.add(names[choice])
            expected = FORMS[form][names[choice]](expected, Magnitude(17.0, 96), draw)
        np.testing.assert_array_equal(applied(seed), expected)
    assert seen == set(names)


def test_the_same_seed_gives_the_same_image(photo):
    first, again, other = (randaugment(photo, tf.constant([1, seed], tf.int64), 2, 10.0) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == tf.uint8 and first.shape == photo.shape and (first != other).numpy().any()


def test_the_form_is_the_config_s(photo):
    config = common.get_config()
    config.crop, config.flip = "none", False
    seed = tf.constant([3, 0], tf.int64)  # draws Contrast, then Posterize
    views = {}
    for form in FORMS:
        config.noise.randaugment_form = form
        views[form] = train_image(photo, config, 96, seed).numpy()
        expected = randaugment(photo, seed + [2 << 32, 0], 2, 27.0, form=form)
        np.testing.assert_array_equal(views[form], expected)
    assert (views["reference"] != views["pillow"]).any()


def test_an_unknown_form_and_an_unknown_name_are_refused():
    config = mnist5k.get_config()
    validate(config)
    config.noise.randaugment_form = "torch"
    with pytest.raises(UserError, match="randaugment_form='torch'.*reference, pillow"):
        validate(config)
    check_names(("Cutout", "SolarizeAdd"))
    with pytest.raises(UserError, match="'CutOut'"):
        check_names(("CutOut",))
