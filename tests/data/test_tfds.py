"""The real Fashion-MNIST builder on the files of Debian's package dataset-fashion-mnist."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ns_jax.data.import_fashion_mnist import DEBIAN_FOLDER, import_files
from ns_jax.data.sources import open_source
from ns_jax.errors import UserError

needs_files = pytest.mark.skipif(not os.path.isdir(DEBIAN_FOLDER), reason="apt-get install dataset-fashion-mnist")


@needs_files
def test_fashion_mnist(tmp_path):
    import_files(DEBIAN_FOLDER, str(tmp_path))
    source = open_source("tfds:fashion_mnist/test", str(tmp_path))
    assert source.count == 10_000 and source.class_names[9] == "Ankle boot"
    ids = source.ids(np.arange(source.count))
    assert len(set(ids.tolist())) == source.count and ids[7] == b"fashion_mnist/test#7"

    raw = gzip.decompress(Path(DEBIAN_FOLDER, "t10k-images-idx3-ubyte.gz").read_bytes())
    pixels = np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 28, 28)
    raw = gzip.decompress(Path(DEBIAN_FOLDER, "t10k-labels-idx1-ubyte.gz").read_bytes())
    labels = {
        image.tobytes(): label for image, label in zip(pixels, np.frombuffer(raw, np.uint8, offset=8), strict=True)
    }
    for index in (0, 5, 9_999):
        image, label = source.load(tf.constant(index, tf.int64))
        assert image.shape == (28, 28, 3)
        assert labels[image.numpy()[..., 0].tobytes()] == int(label)

    with pytest.raises(UserError, match="there are .*train"):
        open_source("tfds:fashion_mnist/validation", str(tmp_path))


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(UserError, match="apt-get install dataset-fashion-mnist"):
        import_files(str(tmp_path), str(tmp_path))
