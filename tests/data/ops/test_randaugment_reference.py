"""The reference form against NumPy definitions of what the official code computes, on photographs.

The definitions are written from the official code, without the project's: its strengths (rotation of 30 degrees,
shear of 0.3, ... at magnitude 10), its float32 arithmetic and its truncation.
"""

import math

import numpy as np
import PIL.Image
import PIL.ImageEnhance
import PIL.ImageOps
import pytest
import tensorflow as tf
from sklearn.datasets import load_sample_image

from ns_jax.data.ops.randaugment.reference import OPERATIONS, Magnitude

MAGNITUDES = (5, 10, 17, 27)
SIZES = {"96x96": (96, 96), "224x224": (224, 224), "65x131": (65, 131)}  # height, width
PHOTOS = ("china.jpg", "flower.jpg")
GEOMETRIC = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")
F32 = np.float32


def blend(degenerate, image, factor):
    if factor == 1:
        return image
    start = degenerate.astype(F32)
    return np.clip(start + F32(factor) * (image.astype(F32) - start), 0, 255).astype(np.uint8)


def auto_contrast(image, magnitude):
    low, high = image.min((0, 1)).astype(F32), image.max((0, 1)).astype(F32)
    scale = F32(255) / (high - low)
    return np.clip(image.astype(F32) * scale - low * scale, 0, 255).astype(np.uint8)


def equalize(image, magnitude):
    channels = []
    for channel in np.moveaxis(image, -1, 0):
        histogram = [int((channel == level).sum()) for level in range(256)]
        step = (channel.size - histogram[channel.max()]) // 255
        table = [min((sum(histogram[:level]) + step // 2) // step, 255) for level in range(256)]
        channels.append(np.array(table, np.uint8)[channel])
    return np.stack(channels, -1)


def posterize(image, magnitude):
    kept = {5: 2, 10: 4, 17: 6, 27: 1}[magnitude]  # asked for 10 bits, it keeps one
    return image & np.uint8(256 - 2 ** (8 - kept))


def solarize(image, magnitude):
    threshold = {5: 128, 10: 0, 17: 179, 27: 179}[magnitude]  # modulo 256
    return np.where(image >= threshold, 255 - image, image)


def solarize_add(image, magnitude):
    addition = {5: 55, 10: 110, 17: 187, 27: 297}[magnitude]
    return np.where(image < 128, np.minimum(image.astype(int) + addition, 255), image).astype(np.uint8)


def color(image, magnitude):
    scaled = image.astype(F32) * F32(1 / 255)
    grey = (scaled[..., 0] * F32(0.2989) + scaled[..., 1] * F32(0.5870) + scaled[..., 2] * F32(0.1140)) * F32(255.5)
    return blend(np.repeat(grey.astype(np.uint8)[..., None], 3, -1), image, 0.18 * magnitude + 0.1)


def contrast(image, magnitude):
    height, width, _ = image.shape  # the number of pixels takes the place of their sum
    return blend(np.full(image.shape, min(height * width // 256, 255), np.uint8), image, 0.18 * magnitude + 0.1)


def brightness(image, magnitude):
    return blend(np.zeros_like(image), image, 0.18 * magnitude + 0.1)


def sharpness(image, magnitude):
    # Float32 sums in the kernel's order: it decides whether a mean of 7 becomes 7 or, truncated, 6.
    height, width, _ = image.shape
    total = np.zeros((height - 2, width - 2, 3), F32)
    for y in range(3):
        for x in range(3):
            weight = F32(5 if (y, x) == (1, 1) else 1) / F32(13)
            total += image[y : height - 2 + y, x : width - 2 + x].astype(F32) * weight
    smooth = image.copy()
    smooth[1:-1, 1:-1] = total.astype(np.uint8)
    return blend(smooth, image, 0.18 * magnitude + 0.1)


def inverse_map(image, to_input):
    """Nearest neighbour, halves away from zero: output (x, y) is input `to_input(x, y)`, or 128 outside."""
    height, width, _ = image.shape
    y, x = np.mgrid[:height, :width].astype(F32)
    column, row = ((np.sign(at) * np.floor(np.abs(at) + F32(0.5))).astype(int) for at in to_input(x, y))
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    result = np.full_like(image, 128)
    result[inside] = image[row[inside], column[inside]]
    return result


def rotate(image, magnitude, sign):
    angle = sign * math.radians(3 * magnitude)
    cos, sin = F32(math.cos(angle)), F32(math.sin(angle))
    last_y, last_x = F32(image.shape[0] - 1), F32(image.shape[1] - 1)
    offset_x = (last_x - (cos * last_x - sin * last_y)) / F32(2)
    offset_y = (last_y - (sin * last_x + cos * last_y)) / F32(2)
    return inverse_map(image, lambda x, y: (cos * x - sin * y + offset_x, sin * x + cos * y + offset_y))


def shear_x(image, magnitude, sign):
    return inverse_map(image, lambda x, y: (x + F32(sign * 0.03 * magnitude) * y, y))


def shear_y(image, magnitude, sign):
    return inverse_map(image, lambda x, y: (x, y + F32(sign * 0.03 * magnitude) * x))


def translate_x(image, magnitude, sign):
    return inverse_map(image, lambda x, y: (x + F32(sign * 10 * magnitude), y))


def translate_y(image, magnitude, sign):
    return inverse_map(image, lambda x, y: (x, y + F32(sign * 10 * magnitude)))


def cutout(image, magnitude, row, column):
    half = 4 * magnitude
    result = image.copy()
    result[max(row - half, 0) : row + half, max(column - half, 0) : column + half] = 128
    return result


POINT = {
    "AutoContrast": auto_contrast,
    "Equalize": equalize,
    "Invert": lambda image, magnitude: 255 - image,
    "Posterize": posterize,
    "Solarize": solarize,
    "Color": color,
    "Contrast": contrast,
    "Brightness": brightness,
    "Sharpness": sharpness,
    "SolarizeAdd": solarize_add,
}
DEFINITIONS = dict(zip(GEOMETRIC, (rotate, shear_x, shear_y, translate_x, translate_y), strict=True))


@pytest.fixture(scope="module", params=SIZES)
def photos(request):
    height, width = SIZES[request.param]
    return [load_sample_image(name)[100 : 100 + height, 200 : 200 + width].copy() for name in PHOTOS]


def apply(name, image, magnitude, draw=(0.3, 0.6)):
    return OPERATIONS[name](tf.constant(image), Magnitude(magnitude, image.shape[1]), tf.constant(draw)).numpy()


def test_every_operation_has_a_definition():
    assert {*POINT, *DEFINITIONS, "Cutout"} == set(OPERATIONS) and len(OPERATIONS) == 16


@pytest.mark.parametrize("name", POINT)
@pytest.mark.parametrize("magnitude", MAGNITUDES)
def test_point_operations_equal_their_definitions(photos, name, magnitude):
    for photo in photos:
        photo = photo // 2 + 40 if name == "AutoContrast" else photo  # these photographs use the whole range
        np.testing.assert_array_equal(apply(name, photo, magnitude), POINT[name](photo, magnitude))


@pytest.mark.parametrize("name", GEOMETRIC)
@pytest.mark.parametrize("magnitude", MAGNITUDES)
def test_geometric_operations_equal_their_definitions(photos, name, magnitude):
    for photo in photos:
        for sign, draw in ((1, (0.3, 0.6)), (-1, (0.7, 0.6))):
            difference = apply(name, photo, magnitude, draw).astype(int) - DEFINITIONS[name](photo, magnitude, sign)
            # Where float32 puts a coordinate between two pixels, either of them is right.
            assert (np.abs(difference).max(-1) <= 1).mean() >= 0.999


@pytest.mark.parametrize("magnitude", MAGNITUDES)
def test_cutout_equals_its_definition(photos, magnitude):
    for photo in photos:
        for draw in ((0.0, 0.0), (0.3, 0.6), (0.99, 0.9)):
            expected = cutout(photo, magnitude, int(draw[0] * photo.shape[0]), int(draw[1] * photo.shape[1]))
            np.testing.assert_array_equal(apply("Cutout", photo, magnitude, draw), expected)


@pytest.mark.parametrize("magnitude", MAGNITUDES)
def test_equalize_and_brightness_equal_pillow(photos, magnitude):
    for photo in photos:
        image = PIL.Image.fromarray(photo)
        brightened = PIL.ImageEnhance.Brightness(image).enhance(0.18 * magnitude + 0.1)
        np.testing.assert_array_equal(apply("Equalize", photo, magnitude), PIL.ImageOps.equalize(image))
        np.testing.assert_array_equal(apply("Brightness", photo, magnitude), brightened)


@pytest.mark.parametrize("name", ("AutoContrast", "Equalize"))
def test_an_image_of_one_color_stays(name):
    plain = np.full((20, 30, 3), 77, np.uint8)
    np.testing.assert_array_equal(apply(name, plain, 10), plain)


def test_small_images_move_and_lose_an_eighth_of_their_side():
    photo = load_sample_image("china.jpg")[100:132, 200:232].copy()
    np.testing.assert_array_equal(apply("TranslateX", photo, 10)[:, :28], photo[:, 4:])
    assert (apply("Cutout", photo, 10, (0.5, 0.5))[12:20, 12:20] == 128).all()
    assert (apply("Cutout", photo, 10, (0.5, 0.5))[11] == photo[11]).all()
