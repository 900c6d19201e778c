"""The study set: its draws, and what its unlabeled images can be changed to."""

import gzip
import os

import numpy as np
import pytest

from ns_jax.data.sources import fashion_mnist
from ns_jax.data.sources.fashion_mnist import CONTENTS, DEBIAN_FOLDER, long_tail, parse, split_indices
from ns_jax.data.sources.registry import open_source
from ns_jax.errors import UserError

needs_files = pytest.mark.skipif(not os.path.isdir(DEBIAN_FOLDER), reason="apt-get install dataset-fashion-mnist")
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 300)).astype(np.int32)


def test_draws_are_stratified_nested_and_fixed():
    draws = [split_indices("labeled", LABELS, draw, 10) for draw in (0, 0, 1)]
    assert np.array_equal(draws[0], draws[1]) and not np.array_equal(draws[0], draws[2])
    assert np.bincount(LABELS[draws[0]]).tolist() == [10] * 10
    assert np.isin(draws[0], split_indices("labeled", LABELS, 0, 25)).all()
    unlabeled = split_indices("unlabeled", LABELS, 0, 10)
    assert np.array_equal(np.sort(np.concatenate([draws[0], unlabeled])), np.arange(3000))
    with pytest.raises(UserError, match="has 300 training images of class T-shirt/top, not 300 to label"):
        split_indices("labeled", LABELS, 0, 300)


def test_the_long_tail_is_geometric():
    everything = np.arange(len(LABELS))
    counts = np.bincount(LABELS[long_tail(everything, LABELS, 0)], minlength=10)
    assert sorted(counts.tolist(), reverse=True) == [300, 180, 108, 65, 39, 23, 14, 8, 5, 3]
    assert not np.array_equal(counts, np.bincount(LABELS[long_tail(everything, LABELS, 1)], minlength=10))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("train", "has the splits labeled, unlabeled, test"),
        ("labeled:a", "write fashion_mnist:test"),
        ("test:0", "write fashion_mnist:test"),
        ("labeled:0:25:digits", "write fashion_mnist:test"),
        ("unlabeled:0:25:cats", "can be in_domain, digits, noise, long_tail, not 'cats'"),
        ("unlabeled:0:25:noise:1", "write fashion_mnist:test"),
    ],
)
def test_bad_names(name, message):
    with pytest.raises(UserError, match=message):
        open_source(f"fashion_mnist:{name}")


def test_defaults():
    assert parse("labeled") == ("labeled", 0, 25, "") and parse("unlabeled:3") == ("unlabeled", 3, 25, "")
    assert parse("unlabeled:3:10:noise") == ("unlabeled", 3, 10, "noise")


def test_missing_and_wrong_files(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", str(tmp_path / "nowhere"))
    with pytest.raises(
        UserError, match="finds no t10k-images-idx3-ubyte.gz in .*apt-get install dataset-fashion-mnist"
    ):
        open_source("fashion_mnist:test", str(tmp_path / "data"))
    folder = tmp_path / "data" / "downloads" / "fashion_mnist"
    folder.mkdir(parents=True)
    file = folder / "ashion-mnist_t10k-images-idx3-ubyteABC.gz"
    file.write_bytes(gzip.compress(b"x" * 100))
    with pytest.raises(UserError, match="ubyteABC.gz does not hold the images"):
        open_source("fashion_mnist:test", str(tmp_path / "data"))
    file.write_bytes(b"x" * 100)
    with pytest.raises(UserError, match="cannot be read"):
        open_source("fashion_mnist:test", str(tmp_path / "data"))


@needs_files
def test_the_real_images():
    labeled, unlabeled = open_source("fashion_mnist:labeled:2:10"), open_source("fashion_mnist:unlabeled:2:10:noise")
    assert labeled.count == 100 and np.bincount(labeled.labels).tolist() == [10] * 10
    image, label = labeled.load(3)
    assert image.shape == (28, 28, 3) and image.dtype == np.uint8 and int(label) == labeled.labels[3]
    assert labeled.ids(np.array([3]))[0].startswith(b"fashion_mnist/train/")
    assert unlabeled.count == 10_000 and len(set(unlabeled.ids(np.arange(10_000)).tolist())) == 10_000
    noise, label = unlabeled.load(9_999)
    assert int(label) == -1 and 100 < np.mean(noise) < 155 and unlabeled.ids(np.array([9_999]))[0] == b"noise/4999"
    assert not np.isin(labeled.ids(np.arange(100)), unlabeled.ids(np.arange(10_000))).any()
    assert set(CONTENTS) == set(os.listdir(DEBIAN_FOLDER))
