"""Decoding a part of an image."""

import io

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from sklearn.datasets import load_sample_image

from ns_jax.data.decode import decode_image, take
from ns_jax.data.ops.crops import center_window, random_area_window
from ns_jax.data.ops.registry import Augmentation
from ns_jax.data.views import View

PHOTO = load_sample_image("flower.jpg")[:301, :423]
FORMATS = {
    "4:4:4": ("JPEG", {"subsampling": 0}),
    "progressive": ("JPEG", {"subsampling": 0, "progressive": True}),
    "4:2:0": ("JPEG", {"subsampling": 2}),
    "PNG": ("PNG", {}),
    "BMP": ("BMP", {}),
}


def encode(name: str, mode: str = "RGB") -> bytes:
    kind, options = FORMATS[name]
    stream = io.BytesIO()
    PIL.Image.fromarray(PHOTO).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def windows():
    yield center_window(View(224, 32))
    for seed in range(8):
        yield random_area_window(View(224, 32), tf.constant([seed, 1], tf.int64), Augmentation(("random_area",)))


@pytest.mark.parametrize("name", FORMATS)
def test_a_window_is_that_part_of_the_whole_image(name):
    encoded = encode(name)
    whole = decode_image(encoded).numpy()
    for window in windows():
        part = decode_image(encoded, window).numpy()
        expected = take(whole, window).numpy()
        assert part.shape == expected.shape
        # Upscaling the colours of 4:2:0 looks at neighbours, of which the outermost pixels have none.
        inside = slice(2, -2) if name == "4:2:0" else slice(None)
        np.testing.assert_array_equal(part[inside, inside], expected[inside, inside])


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_window_of_grey_and_cmyk_jpegs_has_three_channels(mode):
    encoded, window = encode("4:4:4", mode), center_window(View(224, 32))
    np.testing.assert_array_equal(decode_image(encoded, window), take(decode_image(encoded), window))


def test_center_window():
    # int(224 / 256 * 301) = 263; (301 - 263 + 1) // 2, (423 - 263 + 1) // 2
    assert center_window(View(224, 32))(tf.constant([301, 423, 3])).numpy().tolist() == [19, 80, 263, 263]
    assert center_window(View(28, 0))(tf.constant([28, 28, 3])).numpy().tolist() == [0, 0, 28, 28]
    assert center_window(View(224, 32))(tf.constant([1, 5, 3])).numpy().tolist() == [0, 2, 1, 1]
