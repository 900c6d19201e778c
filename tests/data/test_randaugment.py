"""What is drawn, and that what is drawn is applied."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_sample_image

from configs import common, mnist5k
from ns_jax.config import validate
from ns_jax.data.preprocess import train_image
from ns_jax.data.randaugment import FORMS, check_names, draw_operations, randaugment
from ns_jax.data.randaugment_reference import Magnitude
from ns_jax.errors import UserError


@pytest.fixture(scope="module")
def photo():
    return tf.constant(load_sample_image("china.jpg")[100:196, 200:296])


def seeds(number):
    return tf.stack([tf.fill([number], tf.constant(2 << 32, tf.int64)), tf.range(number, dtype=tf.int64)], 1)


# The 0.1 % points of chi-squared with 15 and 13 degrees of freedom.
@pytest.mark.parametrize("available, critical", [(16, 37.70), (14, 34.53)])
def test_operations_and_signs_are_drawn_uniformly(available, critical):
    number = 50_000  # images of two operations
    every = tf.function(lambda seeds: tf.map_fn(
        lambda seed: draw_operations(seed, 2, available), seeds, fn_output_signature=(tf.int32, tf.float32)))  # fmt: skip
    choices, draws = every(seeds(number))
    counts = np.bincount(choices.numpy().ravel())
    expected = 2 * number / available
    assert len(counts) == available and ((counts - expected) ** 2 / expected).sum() < critical
    # The second does not depend on the first.
    pairs = np.bincount(choices.numpy() @ [available, 1], minlength=available**2)
    expected = number / available**2
    freedom = available**2 - 1
    assert ((pairs - expected) ** 2 / expected).sum() < freedom + 3.3 * (2 * freedom) ** 0.5
    negative = (draws.numpy()[..., 0] >= 0.5).mean()
    assert abs(negative - 0.5) < 3.3 * 0.5 / (2 * number) ** 0.5


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
        views[form] = train_image(photo, config, 96, 0, seed).numpy()
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
