"""Both kernels of the official code, against their definitions."""

import numpy as np
import pytest

from ns_jax.data.preprocess import clean_image
from ns_jax.data.resize import resize, resize_to_uint8
from ns_jax.data.views import View


def bilinear(image, size: int):
    """TensorFlow 1's: output y lies at y * height / size, between the two pixels around it."""
    rows, columns = (np.arange(size) * length / size for length in image.shape[:2])
    top, left = (np.floor(places).astype(int) for places in (rows, columns))
    bottom, right = np.minimum(top + 1, image.shape[0] - 1), np.minimum(left + 1, image.shape[1] - 1)
    down, across = (rows - top)[:, None, None], (columns - left)[None, :, None]
    upper = image[top][:, left] * (1 - across) + image[top][:, right] * across
    lower = image[bottom][:, left] * (1 - across) + image[bottom][:, right] * across
    return upper * (1 - down) + lower * down


@pytest.mark.parametrize("size", [7, 20, 40])
def test_bilinear(size):
    image = np.random.default_rng(0).integers(0, 256, (20, 33, 3), np.uint8)
    resized = resize(image, View(size, 0, "bilinear")).numpy()
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, bilinear(image.astype(np.float64), size), atol=1e-3)


def test_a_view_chooses_the_kernel():
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    cubic, linear = (resize(image, View(13, 0, name)).numpy() for name in ("bicubic", "bilinear"))
    assert np.abs(cubic - linear).max() > 1
    assert cubic.min() < 0 or cubic.max() > 255  # it overshoots, and a mean of four pixels does not
    np.testing.assert_array_equal(resize_to_uint8(image, View(13, 0, "bilinear")), linear.astype(np.uint8))
    np.testing.assert_array_equal(clean_image(image, View(13, 0, "bilinear")), linear)
