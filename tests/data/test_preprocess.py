"""The student's view of an image: windows, resize, operations in order."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_sample_image

from ns_jax.data.decode import take
from ns_jax.data.ops.crops import center_window, random_area_window
from ns_jax.data.ops.cutout import cut_out_square
from ns_jax.data.ops.registry import Augmentation
from ns_jax.data.preprocess import clean_image, train_image, train_window
from ns_jax.data.resize import resize_to_uint8
from ns_jax.data.views import View
from ns_jax.errors import UserError

SEED = tf.constant([7, 3], tf.int64)
SMALL = View(6, 0)


@pytest.fixture(scope="module")
def photo():
    return load_sample_image("flower.jpg")[:301, :423]


@pytest.fixture(scope="module")
def tiny():
    return tf.constant(np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8))


def seeds(number):
    return (tf.constant([1, seed], tf.int64) for seed in range(number))


def test_half_of_the_images_are_flipped(tiny):
    view = tf.function(lambda seed: train_image(tiny, Augmentation(("flip",)), SMALL, seed))
    flipped = 0
    for seed in seeds(200):
        image = view(seed)
        is_flipped = bool(tf.reduce_any(image != tiny))
        np.testing.assert_array_equal(image, tiny[:, ::-1] if is_flipped else tiny)
        flipped += is_flipped
    assert 70 < flipped < 130  # beyond four standard deviations


def test_pad4_is_one_of_81_crops_of_the_padded_image(tiny):
    padded = np.pad(tiny, [(4, 4), (4, 4), (0, 0)], mode="reflect")
    crops = {padded[y : y + 6, x : x + 6].tobytes(): (y, x) for y in range(9) for x in range(9)}
    view = tf.function(lambda seed: train_image(tiny, Augmentation(("pad4",)), SMALL, seed))
    places = [crops[view(seed).numpy().tobytes()] for seed in seeds(300)]
    assert len(set(places)) > 60
    for axis in (0, 1):
        assert set(np.array(places)[:, axis]) == set(range(9))


def test_cutout_has_the_side_of_the_augmentation(tiny):
    draw = tf.random.stateless_uniform([5], SEED)[3:]
    for size in (2, 4):
        image = train_image(tiny, Augmentation(("cutout",), cutout_size=size), SMALL, SEED)
        np.testing.assert_array_equal(image, cut_out_square(tiny, size // 2, draw))
    np.testing.assert_array_equal(train_image(tiny, Augmentation(("cutout",)), SMALL, SEED), tiny)


@pytest.mark.parametrize("operations", [(), ("center",), ("flip",)])
def test_without_another_crop_the_window_is_the_centre_crop(photo, operations):
    view, augmentation = View(48, 16), Augmentation(operations)
    window = train_window(augmentation, view, SEED)
    np.testing.assert_array_equal(window(photo.shape), center_window(view)(photo.shape))
    image = train_image(take(photo, window), augmentation, view, SEED)
    clean = np.clip(clean_image(photo, view), 0, 255).astype(np.uint8)
    assert any(np.array_equal(image, side) for side in (clean, clean[:, ::-1]))


def test_random_area_chooses_the_window_before_decoding(photo):
    view, augmentation = View(48, 16), Augmentation(("random_area",))
    window = train_window(augmentation, view, SEED)
    np.testing.assert_array_equal(window(photo.shape), random_area_window(view, SEED, augmentation)(photo.shape))
    part = take(photo, window)
    np.testing.assert_array_equal(train_image(part, augmentation, view, SEED), resize_to_uint8(part, view))
    areas = []
    for seed in seeds(200):
        top, left, height, width = train_window(augmentation, view, seed)(photo.shape).numpy()
        assert 0 <= top <= 301 - height and 0 <= left <= 423 - width
        assert 0.74 < width / height < 1.35
        areas.append(height * width / (301 * 423))
    assert 0.07 < min(areas) < 0.12 and max(areas) > 0.7


def test_the_smallest_area_is_a_setting(photo):
    augmentation = Augmentation(("random_area",), crop_min_area=0.5)
    windows = [train_window(augmentation, View(48, 16), seed)(photo.shape).numpy() for seed in seeds(100)]
    areas = [height * width / (301 * 423) for _, _, height, width in windows]
    assert 0.49 < min(areas) < 0.56


@pytest.mark.parametrize(
    "name, views",
    [
        ("flip_vertical", [lambda image: image, lambda image: image[::-1]]),
        ("quarter_turns", [lambda image, turns=turns: np.rot90(image, turns) for turns in range(4)]),
    ],
)
def test_flips_and_turns_are_equally_likely(tiny, name, views):
    view = tf.function(lambda seed: train_image(tiny, Augmentation((name,)), SMALL, seed))
    kinds = {turn(tiny.numpy()).tobytes(): number for number, turn in enumerate(views)}
    drawn = [kinds[view(seed).numpy().tobytes()] for seed in seeds(400)]
    expected = 400 / len(views)
    assert np.abs(np.bincount(drawn, minlength=len(views)) - expected).max() < 4 * np.sqrt(expected)


def test_flips_and_turns_are_drawn_independently(tiny):
    """Each has random numbers of its own: all eight images of the square's symmetries occur."""
    augmentation = Augmentation(("flip", "flip_vertical", "quarter_turns"))
    view = tf.function(lambda seed: train_image(tiny, augmentation, SMALL, seed))
    assert len({view(seed).numpy().tobytes() for seed in seeds(100)}) == 8


def test_images_without_padding_are_cut_to_a_square_after_decoding(photo):
    view, augmentation = View(32, 0), Augmentation(("flip",))
    assert train_window(augmentation, view, SEED) is None
    square = photo[:, 61:362]
    expected = resize_to_uint8(square, view).numpy()
    image = train_image(tf.constant(photo), augmentation, view, SEED).numpy()
    assert any(np.array_equal(image, side) for side in (expected, expected[:, ::-1]))


# Operations of one's own.
def add_one(image, seed, augmentation):
    return image + 1


def double(image, seed, augmentation):
    return image * 2


def seed_as_value(image, seed, augmentation):
    return tf.zeros_like(image) + tf.cast(seed[0] // 2**32, tf.uint8)


def of_unknown_size(image, seed, augmentation):
    return image[: 5 + tf.cast(seed[1] % 2, tf.int32)]


def own(name):
    return f"{__name__}:{name}"


def test_operations_run_in_order(tiny):
    view = View(6, 0)
    for operations, expected in ((("add_one", "double"), (tiny + 1) * 2), (("double", "add_one"), tiny * 2 + 1)):
        names = tuple(own(name) for name in operations)
        np.testing.assert_array_equal(train_image(tiny, Augmentation(names), view, SEED), expected)


def test_operations_of_ones_own_have_seeds_of_their_own(tiny):
    for position in (0, 1):
        names = ("flip",) * position + (own("seed_as_value"),)
        assert int(train_image(tiny, Augmentation(names), SMALL, SEED)[0, 0, 0]) == 16 + position


def test_a_result_of_another_size_fails_in_the_stream_too(tiny):
    view = tf.function(lambda seed: train_image(tiny, Augmentation((own("of_unknown_size"),)), SMALL, seed))
    assert view(tf.constant([0, 1], tf.int64)).shape == (6, 6, 3)
    with pytest.raises(tf.errors.InvalidArgumentError):
        view(tf.constant([0, 2], tf.int64))


@pytest.mark.parametrize("image", [np.zeros((4, 4)), np.zeros((4, 4, 3)), [[0]]])
def test_clean_image_refuses_what_is_no_image(image):
    with pytest.raises(UserError, match="a path or a uint8 array"):
        clean_image(image, View(4, 0))
