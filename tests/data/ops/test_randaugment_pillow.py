"""The pillow form against Pillow itself, on photographs: equal in every pixel."""

import numpy as np
import PIL.Image
import PIL.ImageEnhance
import PIL.ImageOps
import pytest
import tensorflow as tf
from sklearn.datasets import load_sample_image

from ns_jax.data.ops.randaugment import reference
from ns_jax.data.ops.randaugment.pillow import OPERATIONS
from ns_jax.data.ops.randaugment.reference import Magnitude

MAGNITUDES = (2, 5, 10, 15, 17, 27, 30)
SIZES = ((96, 96), (224, 224), (65, 131), (28, 28))  # height, width


def enhanced(enhance):
    return lambda image, magnitude, sign: enhance(image).enhance(magnitude / 10 * 1.8 + 0.1)


def affine(image, matrix):
    return image.transform(image.size, PIL.Image.Transform.AFFINE, matrix, fillcolor=(128, 128, 128))


def pixels(image, magnitude):
    return magnitude / 10 * (100 if image.width > 64 else image.width / 8)


PILLOW = {
    "AutoContrast": lambda image, magnitude, sign: PIL.ImageOps.autocontrast(image),
    "Equalize": lambda image, magnitude, sign: PIL.ImageOps.equalize(image),
    "Invert": lambda image, magnitude, sign: PIL.ImageOps.invert(image),
    "Rotate": lambda image, magnitude, sign: image.rotate(sign * 3 * magnitude, fillcolor=(128, 128, 128)),
    "Posterize": lambda image, magnitude, sign: PIL.ImageOps.posterize(image, min(max(int(magnitude / 10 * 4), 1), 8)),
    "Solarize": lambda image, magnitude, sign: PIL.ImageOps.solarize(image, int(magnitude / 10 * 256)),
    "Color": enhanced(PIL.ImageEnhance.Color),
    "Contrast": enhanced(PIL.ImageEnhance.Contrast),
    "Brightness": enhanced(PIL.ImageEnhance.Brightness),
    "Sharpness": enhanced(PIL.ImageEnhance.Sharpness),
    "ShearX": lambda image, magnitude, sign: affine(image, (1, sign * magnitude / 10 * 0.3, 0, 0, 1, 0)),
    "ShearY": lambda image, magnitude, sign: affine(image, (1, 0, 0, sign * magnitude / 10 * 0.3, 1, 0)),
    "TranslateX": lambda image, magnitude, sign: affine(image, (1, 0, sign * pixels(image, magnitude), 0, 1, 0)),
    "TranslateY": lambda image, magnitude, sign: affine(image, (1, 0, 0, 0, 1, sign * pixels(image, magnitude))),
    "SolarizeAdd": lambda image, magnitude, sign: image.point(
        [min(level + int(magnitude / 10 * 110), 255) if level < 128 else level for level in range(256)] * 3
    ),
}


@pytest.fixture(scope="module")
def photos():
    photos = [
        load_sample_image(name)[100 : 100 + height, 200 : 200 + width].copy()
        for name in ("china.jpg", "flower.jpg")
        for height, width in SIZES
    ]
    return [*photos, photos[0] // 2 + 40]  # the last does not use the whole range


def apply(name, photo, magnitude, sign):
    draw = tf.constant([0.3 if sign > 0 else 0.7, 0.6])
    return OPERATIONS[name](tf.constant(photo), Magnitude(magnitude, photo.shape[1]), draw).numpy()


@pytest.mark.parametrize("name", PILLOW)
def test_equals_pillow(photos, name):
    for photo in photos:
        for magnitude in MAGNITUDES:
            for sign in (1, -1):
                expected = PILLOW[name](PIL.Image.fromarray(photo), magnitude, sign)
                np.testing.assert_array_equal(apply(name, photo, magnitude, sign), expected)


def test_the_operations_are_those_of_the_reference_form_in_its_order():
    assert list(OPERATIONS) == list(reference.OPERATIONS) == [*PILLOW][:14] + ["Cutout", "SolarizeAdd"]
    assert OPERATIONS["Cutout"] is reference.OPERATIONS["Cutout"]  # Pillow has none


def test_beyond_their_range_posterize_and_solarize_change_nothing(photos):
    for name in ("Posterize", "Solarize"):
        np.testing.assert_array_equal(apply(name, photos[0], 27, 1), photos[0])
        assert (apply(name, photos[0], 9, 1) != photos[0]).any()


@pytest.mark.parametrize("name", ("AutoContrast", "Equalize"))
def test_an_image_of_one_color_stays(name):
    plain = np.full((20, 30, 3), 77, np.uint8)
    np.testing.assert_array_equal(apply(name, plain, 10, 1), plain)
