"""Formats that people have, against Pillow's own view of them, and the orientation that cameras write."""

import io
import os
import resource

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import tensorflow as tf
from sklearn.datasets import load_sample_image

from ns_jax.data import pillow
from ns_jax.data.decode import decode_image, take, upright
from ns_jax.data.image_size import max_pixels
from ns_jax.data.ops.crops import center_window
from ns_jax.data.ops.registry import Augmentation
from ns_jax.data.pipeline import eval_batches, readable_examples, train_batches
from ns_jax.data.preprocess import clean_image
from ns_jax.data.sources.registry import OpenSources, open_source
from ns_jax.data.views import View
from ns_jax.errors import UserError

PHOTO = load_sample_image("flower.jpg")[:61, :83]
GREY16 = (np.arange(61 * 83).reshape(61, 83) * 12 + 5).astype(np.uint16)
WINDOW = center_window(View(28, 4))
LOSSLESS = {"WEBP": {"lossless": True, "exact": True}, "TIFF": {}, "PNG": {}}


def encode(image, kind, **options) -> bytes:
    stream = io.BytesIO()
    image = PIL.Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(stream, kind, **options)
    return stream.getvalue()


def in_graph(encoded, window=None, exif_orientation=False):
    """As in a stream of images, where nothing has a value yet."""
    decode = lambda content: decode_image(content, window, exif_orientation)
    dataset = tf.data.Dataset.from_tensors(encoded).map(tf.autograph.experimental.do_not_convert(decode))
    return next(dataset.as_numpy_iterator())


@pytest.mark.parametrize("kind", ("WEBP", "TIFF"))
@pytest.mark.parametrize("mode", ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK"))
def test_what_pillow_decodes_is_what_tensorflow_makes_of_a_png(kind, mode):
    if kind == "WEBP" and mode in ("P", "1", "CMYK", "LA", "L"):
        pytest.skip("WebP has no such images")
    image = PIL.Image.fromarray(PHOTO).convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(PIL.Image.fromarray(PHOTO[..., 0]))
    encoded = encode(image, kind, **LOSSLESS[kind])
    as_png = encode(image if mode != "CMYK" else image.convert("RGB"), "PNG")
    whole = tf.io.decode_image(as_png, channels=3).numpy()
    np.testing.assert_array_equal(in_graph(encoded), whole)
    np.testing.assert_array_equal(in_graph(encoded, WINDOW), take(tf.constant(whole), WINDOW))


@pytest.mark.parametrize("mode", ("P", "1", "L", "RGB", "RGBA"))
def test_a_bmp_has_the_colours_that_pillow_sees(mode):
    image = PIL.Image.fromarray(PHOTO)
    image = image.quantize(64) if mode == "P" else image.convert(mode)
    encoded = encode(image, "BMP")
    want = np.asarray(PIL.Image.open(io.BytesIO(encoded)).convert("RGB"))
    np.testing.assert_array_equal(in_graph(encoded), want)
    np.testing.assert_array_equal(in_graph(encoded, WINDOW), take(tf.constant(want), WINDOW))


@pytest.mark.parametrize("kind", ("PNG", "GIF", "BMP", "JPEG", "TIFF", "WEBP"))
def test_an_image_larger_than_the_limit_is_refused_by_its_header(kind, tmp_path, monkeypatch):
    path = tmp_path / "large"
    path.write_bytes(encode(PHOTO, kind))
    monkeypatch.setenv("NS_JAX_MAX_PIXELS", str(61 * 83))
    clean_image(path, View(28, 4))
    monkeypatch.setenv("NS_JAX_MAX_PIXELS", str(61 * 83 - 1))
    with pytest.raises(UserError, match="large: more than 5062 pixels: set NS_JAX_MAX_PIXELS to allow more"):
        clean_image(path, View(28, 4))
    for window in (None, WINDOW):
        with pytest.raises((tf.errors.InvalidArgumentError, tf.errors.UnknownError), match="NS_JAX_MAX_PIXELS"):
            in_graph(path.read_bytes(), window)


def test_a_small_file_that_would_fill_the_memory_is_refused(tmp_path):
    path, before = tmp_path / "bomb.png", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    PIL.Image.new("1", (20_000, 20_000)).save(path)
    assert path.stat().st_size < 60_000
    with pytest.raises(UserError, match="bomb.png: more than 178956970 pixels"):
        clean_image(path, View(28, 4))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 700_000  # KiB; writing it takes 400 MB


def test_sizes_that_overflow_are_refused():
    png = bytearray(encode(PHOTO, "PNG"))
    png[16:24] = b"\xff" * 8
    with pytest.raises(tf.errors.InvalidArgumentError, match="NS_JAX_MAX_PIXELS"):
        in_graph(bytes(png))


@pytest.mark.parametrize("text", ("", "0", "many", "-1", "9" * 30))
def test_a_limit_that_is_none(monkeypatch, text):
    monkeypatch.setenv("NS_JAX_MAX_PIXELS", text)
    with pytest.raises(UserError, match="NS_JAX_MAX_PIXELS=.* is no number of pixels"):
        max_pixels()


def test_avif():
    decoded = in_graph(encode(PHOTO, "AVIF", quality=95))
    assert decoded.shape == PHOTO.shape and np.abs(decoded.astype(int) - PHOTO).mean() < 4


@pytest.mark.parametrize("kind, order", (("PNG", "<"), ("TIFF", "<"), ("TIFF", ">")))
def test_of_16_bits_the_upper_8_are_taken(kind, order):
    image = PIL.Image.fromarray(GREY16)
    if order == ">":
        image = PIL.Image.frombytes("I;16B", image.size, GREY16.astype(">u2").tobytes())
    decoded = in_graph(encode(image, kind))
    np.testing.assert_array_equal(decoded, np.repeat((GREY16 >> 8).astype(np.uint8)[..., None], 3, -1))


def test_cmyk_jpegs_have_the_colours_that_pillow_sees():
    """TensorFlow decodes them, with its own rounding of the transform."""
    encoded = encode(PIL.Image.fromarray(PHOTO).convert("CMYK"), "JPEG", quality=95)
    by_pillow = np.asarray(PIL.Image.open(io.BytesIO(encoded)).convert("RGB")).astype(int)
    assert np.abs(in_graph(encoded).astype(int) - by_pillow).mean() < 2


@pytest.mark.parametrize("mode", ("I", "F"))
def test_numbers_without_a_known_range_are_refused(mode):
    image = PIL.Image.fromarray(GREY16.astype(np.int32 if mode == "I" else np.float32))
    with pytest.raises(ValueError, match="no known range"):
        pillow.decode(np.frombuffer(encode(image, "TIFF"), np.uint8))


@pytest.mark.parametrize("kind", ("JPEG", "PNG", "WEBP", "TIFF"))
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(kind, orientation):
    exif = PIL.Image.Exif()
    exif[pillow.EXIF_ORIENTATION] = orientation
    options = LOSSLESS.get(kind, {"quality": 100, "subsampling": 0})
    encoded = encode(PHOTO, kind, exif=exif, **options)
    turned = np.asarray(PIL.ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(encoded))))
    want = PHOTO.astype(int) if orientation == 1 else turned.astype(int)
    for window in (None, WINDOW):
        decoded = in_graph(encoded, window, exif_orientation=True)
        expected = take(tf.constant(want), window).numpy()
        assert decoded.shape == expected.shape
        assert np.abs(decoded - expected).max() <= (8 if kind == "JPEG" else 0)
    if kind == "JPEG":  # without being asked for, not a bit changes
        np.testing.assert_array_equal(in_graph(encoded), tf.io.decode_image(encoded, channels=3))


def test_upright_undoes_what_the_orientation_says():
    image = tf.constant(np.arange(2 * 3).reshape(2, 3, 1))
    assert upright(image, tf.constant(6, tf.int64)).numpy()[..., 0].tolist() == [[3, 0], [4, 1], [5, 2]]


@pytest.fixture
def folder(tmp_path):
    """One image of each format, one of them lying on its side, and three that are broken."""
    exif = PIL.Image.Exif()
    exif[pillow.EXIF_ORIENTATION] = 6
    for name, kind, options in (
        ("a.webp", "WEBP", {"lossless": True}),
        ("b.tif", "TIFF", {}),
        ("c.avif", "AVIF", {}),
        ("d.jpg", "JPEG", {"exif": exif}),
        ("e.png", "PNG", {}),
    ):
        (tmp_path / name).write_bytes(encode(PHOTO, kind, **options))
    (tmp_path / "f.webp").write_bytes((tmp_path / "a.webp").read_bytes()[:900])
    (tmp_path / "g.tif").write_bytes((tmp_path / "b.tif").read_bytes()[:900])
    (tmp_path / "h.jpg").write_bytes(b"")
    return tmp_path


def test_broken_files_of_every_format_are_recognised(folder, tmp_path_factory):
    source = open_source(f"folder:{folder}")
    cache = tmp_path_factory.mktemp("cache")
    assert readable_examples(source, 0.5, cache).tolist() == [0, 1, 2, 3, 4]
    assert readable_examples(OpenSources().open(source.name, exif_orientation=True), 0.5, cache).tolist() == [*range(5)]


@pytest.mark.parametrize("exif_orientation", (False, True))
def test_training_labelling_and_predicting_see_the_same(folder, exif_orientation):
    source = OpenSources().open(f"folder:{folder}", exif_orientation=exif_orientation)
    indices, view = np.arange(5), View(28, 4)
    clean = next(eval_batches(source, indices, view, 5))
    for index, image in enumerate(clean["image"]):
        path = os.path.join(folder, source.ids(np.array([index]))[0].decode())
        np.testing.assert_array_equal(image, clean_image(path, view, exif_orientation))
    common = {"augmentation": Augmentation(), "view": view, "seed": 0, "stream": "labeled", "batch_size": 5}
    (batch,) = train_batches(source, indices, rows=slice(0, 5), start_step=0, num_steps=1, **common)
    whole = np.clip(clean["image"][batch["example"]], 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(batch["image"], whole)
    is_turned = not np.allclose(clean["image"][3], clean["image"][4], atol=40)
    assert is_turned == exif_orientation


def test_predicting_a_broken_file_says_which_formats_there_are(folder):
    for name in ("f.webp", "g.tif", "h.jpg"):
        with pytest.raises(UserError, match=f"{name}: not a whole JPEG, PNG, GIF, BMP, WebP, TIFF or AVIF"):
            clean_image(folder / name, View(28, 4))
