"""The corruptions: what each is known to do, and that nothing but a seed and a name decides."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from skimage import color, util
from skimage.filters import gaussian

from ns_jax.data.corruptions import blur, noise, textures, weather
from ns_jax.data.corruptions.corrupt import corrupt, generator_of, to_uint8
from ns_jax.data.corruptions.digital import move_points
from ns_jax.data.corruptions.sequences import PERTURBATIONS, centre, num_frames, sequence
from ns_jax.data.corruptions.tables import CORRUPTIONS


@pytest.fixture(scope="module")
def photo():
    """uint8 [32, 32, 3], smooth and coloured."""
    y, x = np.mgrid[0:32, 0:32] / 31.0
    waves = np.stack([np.sin(5 * x + y), np.cos(4 * y * x), x * y * 2 - 1], axis=2)
    return np.round(127.5 * (1 + 0.9 * waves)).astype(np.uint8)


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_the_same_generator_gives_the_same_image(photo, corruption):
    images = [corrupt(photo, corruption, 3, generator_of(0, b"id", corruption)) for _ in range(2)]
    np.testing.assert_array_equal(*images)
    assert images[0].dtype == np.uint8 and images[0].shape == photo.shape
    assert (images[0] != photo).any()


@pytest.mark.parametrize("corruption", ["gaussian_noise", "motion_blur", "snow", "frost", "fog", "elastic_transform"])
def test_another_id_gives_another_image(photo, corruption):
    first, second = (corrupt(photo, corruption, 3, generator_of(0, name, corruption)) for name in (b"a", b"b"))
    assert (first != second).any()


# The published severities of elastic_transform are of different kinds, and do not grow.
@pytest.mark.parametrize("corruption", [name for name in CORRUPTIONS if name != "elastic_transform"])
def test_severity_5_is_further_from_the_image_than_1(photo, corruption):
    distances = [
        np.mean([
            np.abs(corrupt(photo, corruption, severity, generator_of(0, str(n))).astype(int) - photo).mean()
            for n in range(8)
        ])
        for severity in (1, 5)
    ]  # fmt: skip
    assert distances[1] > distances[0] > 0


def test_brightness_is_that_of_hsv(photo):
    values = photo / 255.0
    values[0, :4] = 0.0  # black has no colour
    hsv = color.rgb2hsv(values)
    hsv[:, :, 2] = np.clip(hsv[:, :, 2] + 0.3, 0, 1)
    np.testing.assert_allclose(weather.brightness(values, 0.3), color.hsv2rgb(hsv), atol=1e-12)


def test_smoothing_and_impulse_noise_are_those_of_scikit_image(photo):
    values = photo / 255.0
    np.testing.assert_allclose(blur.smooth(values, 1.3), gaussian(values, 1.3, channel_axis=-1), atol=1e-12)
    want = util.random_noise(values, mode="s&p", amount=0.2, rng=generator_of(0, "a"))
    np.testing.assert_array_equal(noise.impulse_noise(values, 0.2, generator_of(0, "a")), want)


def test_a_disk_of_radius_2_is_round_and_adds_up_to_1():
    kernel = blur.disk(2, 0.1)
    assert kernel.sum() == pytest.approx(1) and np.count_nonzero(kernel > 1e-9) == 13
    np.testing.assert_allclose(kernel, kernel.T)
    point = np.zeros((17, 17, 3))
    point[8, 8] = 1
    np.testing.assert_allclose(blur.defocus_blur(point, (2, 0.1), None)[:, :, 0], kernel, atol=1e-12)


def test_motion_blur_smears_a_point_along_its_line():
    point = np.zeros((31, 31))
    point[15, 15] = 1
    level = blur.move_along(point, 5, 3, 0)
    assert level.sum() == pytest.approx(1) and level[15, 5:16].sum() == pytest.approx(1)
    weights = np.exp(-(np.arange(11) ** 2) / 18)
    np.testing.assert_allclose(level[15, 5:16][::-1], weights / weights.sum(), atol=1e-9)
    upright = blur.move_along(point, 5, 3, 90)
    assert upright[5:16, 15].sum() == pytest.approx(1)


def test_zoom_keeps_the_size_and_the_centre():
    image = np.zeros((20, 20))
    image[9:11, 9:11] = 1
    assert blur.zoom_in(image, 1.0).tolist() == image.tolist()
    larger = blur.zoom_in(image, 2.0)
    assert larger.shape == (20, 20) and larger.sum() == pytest.approx(16, rel=0.2)
    np.testing.assert_array_equal(np.argwhere(larger > 0.4), np.argwhere(np.pad(np.ones((4, 4)), 8)))


def test_glass_shows_only_pixels_of_the_neighbourhood():
    steps = np.repeat(np.arange(32)[None], 32, 0)[:, :, None].repeat(3, 2) / 31.0
    moved = blur.glass_blur(steps, (1e-3, 2, 1), generator_of(0, "g"))
    distance = 31 * np.abs(moved - steps)
    assert 0.5 < distance.mean() < 2 and distance.max() < 8  # one may be taken from one that was moved already


def test_clouds_fill_the_range_and_are_rougher_with_less_decay():
    smooth, rough = (textures.clouds(64, decay, generator_of(0, "c")) for decay in (3.0, 1.4))
    for clouds in (smooth, rough):
        assert clouds.min() == 0 and clouds.max() == 1
    step = lambda clouds: np.abs(np.diff(clouds, axis=0)).mean()
    assert step(rough) > 2 * step(smooth)


def test_points_that_do_not_move_leave_the_image(photo):
    values = photo / 255.0
    np.testing.assert_allclose(move_points(values, np.zeros((3, 2))), values, atol=1e-9)
    right = move_points(values, np.tile([2.0, 0.0], (3, 1)))
    np.testing.assert_allclose(right[:, 2:], values[:, :-2], atol=1e-9)


@hypothesis.settings(max_examples=20, deadline=None)
@hypothesis.given(st.integers(0, 255))
def test_values_survive_the_way_to_numbers_and_back(value):
    assert to_uint8(np.full((1, 1, 3), value) / 255.0).ravel().tolist() == [value] * 3


@pytest.mark.parametrize("perturbation", PERTURBATIONS)
def test_sequences(photo, perturbation):
    frames = sequence(photo, perturbation, 28, generator_of(0, "s"))
    assert frames.shape == (num_frames(perturbation, 28), 28, 28, 3) and frames.dtype == np.uint8
    np.testing.assert_array_equal(frames, sequence(photo, perturbation, 28, generator_of(0, "s")))
    is_change = (frames[1:] != frames[:-1]).any((1, 2, 3))
    assert is_change.all() if perturbation != "snow" else is_change.mean() > 0.5  # flakes move by whole pixels
    clean = centre(photo, 28)
    if "noise" in perturbation or perturbation == "zoom_blur":
        np.testing.assert_array_equal(frames[0], clean)
    if perturbation in ("rotate", "brightness", "scale"):
        assert np.abs(frames[15].astype(int) - clean).max() <= 1  # no change in the middle
