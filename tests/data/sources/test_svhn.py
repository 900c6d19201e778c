"""The house numbers, from small files in their format."""

import functools
import http.server
import threading

import numpy as np
import pytest
import scipy.io
import tensorflow as tf

from ns_jax.configs import svhn as experiment
from ns_jax.data.ops.registry import Augmentation
from ns_jax.data.preprocess import train_image
from ns_jax.data.sources import svhn
from ns_jax.data.sources.registry import open_source
from ns_jax.data.views import View
from ns_jax.errors import UserError
from ns_jax.run.settings import augmentation

COUNT = 4100
SMALL_COUNT = 12


def save_mat(path, count: int, side: int) -> dict:
    generator = np.random.default_rng(count)
    content = {
        "X": generator.integers(0, 256, (side, side, 3, count)).astype(np.uint8),
        "y": generator.integers(1, 11, (count, 1)).astype(np.uint8),
    }
    scipy.io.savemat(path, content)
    return content


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("svhn")
    contents = {"train": save_mat(folder / "train_32x32.mat", COUNT, 4)}
    for name in ("extra", "test"):
        contents[name] = save_mat(folder / f"{name}_32x32.mat", SMALL_COUNT, 32)
    return folder, contents


def test_the_hold_out_is_that_of_the_official_code(files):
    folder, contents = files
    train, holdout = (open_source(f"svhn:{split}", str(folder)) for split in ("train", "holdout"))
    assert (train.count, holdout.count) == (COUNT - 4000, 4000)
    np.random.seed(0)  # as proc_svhn.py
    order = np.arange(COUNT)
    np.random.shuffle(order)
    ids = {int(name.decode().rpartition("/")[2]) for name in holdout.ids(np.arange(4000))}
    assert ids == set(order[:4000].tolist())
    first = int(train.ids(np.array([0]))[0].decode().rpartition("/")[2])
    assert int(train.load(tf.constant(0, tf.int64))[1]) == contents["train"]["y"][first, 0] % 10
    assert open_source("svhn:full_train", str(folder)).count == COUNT


def test_images_have_been_a_jpeg_of_quality_100(files):
    folder, contents = files
    source = open_source("svhn:test", str(folder))
    assert source.class_names == tuple("0123456789") and source.count == SMALL_COUNT
    image, label = source.load(tf.constant(3, tf.int64))
    stored = contents["test"]["X"][..., 3]
    expected = tf.io.decode_jpeg(tf.io.encode_jpeg(stored, format="rgb", quality=100))
    assert image.dtype == tf.uint8 and image.shape == (32, 32, 3)
    np.testing.assert_array_equal(image, expected)
    assert not np.array_equal(image, stored)
    assert int(label) == contents["test"]["y"][3, 0] % 10


def test_cutout_comes_before_the_crop():
    """The last operation pads by reflection: where it is last, the square that is cut out moves with the crop."""
    config = experiment.get_config()
    assert augmentation(config).operations == ("randaugment", "cutout", "pad4")
    image, view, seed = tf.fill([32, 32, 3], tf.constant(7, tf.uint8)), View(32, 0), tf.constant([0, 1], tf.int64)
    cut_last = Augmentation(("pad4", "cutout"), cutout_size=16)
    cut_first = Augmentation(("cutout", "pad4"), cutout_size=16)
    after, before = (train_image(image, operations, view, seed).numpy() for operations in (cut_last, cut_first))
    assert (after == 128).any() and (before == 128).any() and not np.array_equal(after, before)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def test_missing_files_are_downloaded_once(files, tmp_path, monkeypatch):
    folder, _ = files
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(svhn, "URL", f"http://127.0.0.1:{server.server_port}")
    try:
        assert open_source("svhn:extra", str(tmp_path / "data")).count == SMALL_COUNT
    finally:
        server.shutdown()
        server.server_close()
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["extra_32x32.mat"]
    assert open_source("svhn:extra", str(tmp_path / "data")).count == SMALL_COUNT  # the server is gone
    with pytest.raises(
        UserError, match="train_32x32.mat could not be downloaded .*: put the file there, or set data.dir"
    ):
        open_source("svhn:train", str(tmp_path / "data"))


def test_what_is_no_such_file_or_split(tmp_path):
    (tmp_path / "test_32x32.mat").write_bytes(b"<html>not found</html>" * 20)
    with pytest.raises(UserError, match="test_32x32.mat is no file of the data set .*: delete it to download it again"):
        open_source("svhn:test", str(tmp_path))
    scipy.io.savemat(tmp_path / "test_32x32.mat", {"other": np.zeros(3)})
    with pytest.raises(UserError, match="test_32x32.mat is no file of the data set"):
        open_source("svhn:test", str(tmp_path))
    with pytest.raises(UserError, match="svhn has the splits train, holdout, full_train, extra, test, not 'dev'"):
        open_source("svhn:dev", str(tmp_path))
