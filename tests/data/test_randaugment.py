"""The operations on a real photograph, against Pillow where the official code equals it."""

import collections

import numpy as np
import PIL.Image
import PIL.ImageEnhance
import PIL.ImageOps
import pytest
import tensorflow as tf
from sklearn.datasets import load_sample_image

from ns_jax.data.randaugment import OPS, Magnitude, randaugment

DRAW = tf.constant([0.3, 0.6])


@pytest.fixture(scope="module")
def photo():
    return load_sample_image("china.jpg")[100:196, 200:296].copy()


def apply(name, image, magnitude):
    return OPS[name](tf.constant(image), Magnitude(magnitude, 96), DRAW).numpy()


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("magnitude", (5.0, 10.0, 17.0, 27.0))
def test_shape_and_dtype(photo, name, magnitude):
    found = apply(name, photo, magnitude)
    assert found.shape == photo.shape and found.dtype == np.uint8


@pytest.mark.parametrize("magnitude", (5.0, 10.0, 17.0, 27.0))
def test_point_operations_against_their_definitions(photo, magnitude):
    image, wide = PIL.Image.fromarray(photo), photo.astype(int)
    factor = magnitude / 10 * 1.8 + 0.1
    np.testing.assert_array_equal(apply("Equalize", photo, magnitude), PIL.ImageOps.equalize(image))
    np.testing.assert_array_equal(apply("Brightness", photo, magnitude),
                                  PIL.ImageEnhance.Brightness(image).enhance(factor))  # fmt: skip
    np.testing.assert_array_equal(apply("Invert", photo, magnitude), 255 - photo)
    threshold = int(magnitude / 10 * 256) % 256  # compared as uint8: it wraps
    np.testing.assert_array_equal(apply("Solarize", photo, magnitude), np.where(wide < threshold, wide, 255 - wide))
    addition = int(magnitude / 10 * 110)
    np.testing.assert_array_equal(apply("SolarizeAdd", photo, magnitude),
                                  np.where(wide < 128, np.minimum(wide + addition, 255), wide))  # fmt: skip
    shift = {5.0: 6, 10.0: 4, 17.0: 2, 27.0: 7}[magnitude]  # ten bits: a shift of -2, clamped to 7
    np.testing.assert_array_equal(apply("Posterize", photo, magnitude), wide >> shift << shift)
    grey = 36  # 96 * 96 / 256, not the image's mean
    mixed = np.clip(grey + np.float32(factor) * (photo.astype(np.float32) - grey), 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(apply("Contrast", photo, magnitude), photo if magnitude == 5 else mixed)


def test_autocontrast_is_within_one_level_of_pillow(photo):
    dull = (photo // 2 + 40).astype(np.uint8)
    expected = np.asarray(PIL.ImageOps.autocontrast(PIL.Image.fromarray(dull))).astype(int)
    found = apply("AutoContrast", dull, 10.0).astype(int)
    assert np.abs(found - expected).max() <= 1 and (found != dull).any()


@pytest.mark.parametrize("name, axis", [("TranslateX", 1), ("TranslateY", 0)])
def test_translation_moves_by_whole_pixels(photo, name, axis):
    pixels = 30  # magnitude 3 of 100 px at magnitude 10
    found = apply(name, photo, 3.0)
    shifted = [np.roll(photo, sign * pixels, axis) for sign in (1, -1)]
    for one, edge in zip(shifted, (slice(0, pixels), slice(-pixels, None)), strict=True):
        one[(slice(None),) * axis + (edge,)] = 128
    assert any((found == one).all() for one in shifted)


def test_rotation_is_about_the_centre_with_grey_outside(photo):
    expected = [np.asarray(PIL.Image.fromarray(photo).rotate(sign * 30, fillcolor=(128,) * 3)) for sign in (1, -1)]
    found = apply("Rotate", photo, 10.0)
    assert max((found == one).all(-1).mean() for one in expected) > 0.95


def test_cutout_covers_a_square(photo):
    found = apply("Cutout", photo, 5.0)  # half a side of 20 px
    changed = (found != photo).any(-1)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert 1 <= np.ptp(rows) + 1 <= 40 and 1 <= np.ptp(columns) + 1 <= 40
    assert (found[changed] == 128).all()


def test_the_draw_of_operations_is_uniform_and_follows_the_seed(photo, monkeypatch):
    for number, name in enumerate(list(OPS)):
        monkeypatch.setitem(OPS, name, lambda image, magnitude, draw, number=number: tf.fill(image.shape, np.uint8(number)))
    draw = tf.function(lambda seed: randaugment(tf.constant(photo), seed, 1, 10.0)[0, 0, 0])
    found = [int(draw(tf.constant([1, i], tf.int64))) for i in range(3200)]
    counts = collections.Counter(found)
    assert len(counts) == len(OPS) == 16
    chi_squared = sum((count - 200) ** 2 / 200 for count in counts.values())
    assert chi_squared < 37.7  # 0.1 % point with 15 degrees of freedom
    assert found[:20] == [int(draw(tf.constant([1, i], tf.int64))) for i in range(20)]
