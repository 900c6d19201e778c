"""Data sets of the package datasets on disk; skipped where it is not installed."""

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from ns_jax.data.pipeline import eval_batches
from ns_jax.data.sources.registry import open_source
from ns_jax.data.views import View
from ns_jax.errors import UserError

datasets = pytest.importorskip("datasets")

IMAGES = [np.full((12, 10, 3), 40 * number, np.uint8) for number in range(4)]


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hf")
    features = datasets.Features({"picture": datasets.Image(), "kind": datasets.ClassLabel(names=["cat", "dog"])})
    columns = {"picture": [PIL.Image.fromarray(image) for image in IMAGES], "kind": [0, 1, 1, 0]}
    labeled = datasets.Dataset.from_dict(columns, features)
    labeled.save_to_disk(folder / "one")
    datasets.DatasetDict({"train": labeled, "test": labeled.select([2])}).save_to_disk(folder / "splits")
    labeled.remove_columns("kind").save_to_disk(folder / "unlabeled")
    labeled.remove_columns("picture").save_to_disk(folder / "blind")
    numbers = datasets.Dataset.from_dict({"picture": columns["picture"], "label": [5, 6, 5, 6]})
    numbers.cast_column("picture", datasets.Image()).save_to_disk(folder / "numbers")
    return folder


def test_images_and_labels(disk):
    source = open_source(f"hf:{disk}/one")
    assert (source.count, source.class_names, source.labels.tolist()) == (4, ("cat", "dog"), [0, 1, 1, 0])
    image, label = source.load(tf.constant(2, tf.int64))
    np.testing.assert_array_equal(image, IMAGES[2])
    assert int(label) == 1 and source.ids(np.array([2])).tolist() == [b"one#2"]
    assert source.stamp and source.stamp != open_source(f"hf:{disk}/unlabeled").stamp
    (batch,) = eval_batches(source, np.arange(4), View(8, 0), 4)
    assert batch["label"].tolist() == [0, 1, 1, 0] and batch["image"][:, 0, 0, 0].tolist() == [0, 40, 80, 120]


def test_splits_and_unlabeled(disk):
    test = open_source(f"hf:{disk}/splits:test")
    assert (test.count, test.labels.tolist(), test.ids(np.array([0])).tolist()) == (1, [1], [b"splits:test#0"])
    assert open_source(f"hf:{disk}/unlabeled").class_names == ()


@pytest.mark.parametrize(
    "name, message",
    [
        ("splits", "several splits: name one, as .*splits:train; there are train, test"),
        ("splits:val", "no split 'val'"),
        ("one:train", "has no splits: leave out 'train'"),
        ("blind", r"no column of type Image: it has kind \(ClassLabel\)"),
        ("numbers", "'label' must be of type ClassLabel: class_encode_column"),
        ("nothing", "there is no such folder"),
        (".", "is no data set that load_from_disk reads"),
    ],
)
def test_data_sets_that_cannot_be_used(disk, name, message):
    with pytest.raises(UserError, match=message) as caught:
        open_source(f"hf:{disk}/{name}")
    assert "\n" not in str(caught.value)
