"""The splits of the solar cells, and their files in a folder like that of the package elpv-dataset."""

import sys

import numpy as np
import pytest
import tensorflow as tf

from ns_jax.data.sources import solar_cells
from ns_jax.data.sources.registry import open_source
from ns_jax.errors import UserError
from tests.data.sources.test_sources import write_image

LABELS = np.repeat(np.array([0, 1], np.int32), [1803, 821])  # as many as in the data set


def test_splits_do_not_overlap_and_the_test_set_is_that_of_every_draw():
    parts = {split: solar_cells.split_indices(split, LABELS) for split in solar_cells.SPLITS}
    assert {split: len(part) for split, part in parts.items()} == {
        "labeled": 100,
        "unlabeled": 1868,
        "train": 1968,
        "test": 656,
    }
    three = np.concatenate([parts["labeled"], parts["unlabeled"], parts["test"]])
    assert len(np.unique(three)) == len(LABELS)
    assert np.bincount(LABELS[parts["labeled"]]).tolist() == [50, 50]
    other = {split: solar_cells.split_indices(split, LABELS, draw=1, count=20) for split in solar_cells.SPLITS}
    np.testing.assert_array_equal(other["test"], parts["test"])
    assert len(other["labeled"]) == 40 and not set(other["labeled"]) <= set(parts["labeled"])
    with pytest.raises(UserError, match="has 616 training images of class defective, and 616 are asked for"):
        solar_cells.split_indices("labeled", LABELS, count=616)


def test_files_of_the_package(tmp_path, monkeypatch):
    data = tmp_path / "elpv_dataset" / "data"
    probabilities = [0.0, 1 / 3, 2 / 3, 1.0] * 4
    for number in range(len(probabilities)):
        write_image(data / "images" / f"cell{number:04d}.png", number)
    lines = [f"images/cell{number:04d}.png  {value:<20} mono" for number, value in enumerate(probabilities)]
    (data / "labels.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "elpv_dataset" / "__init__.py").write_text("raise ImportError('none of its code runs')")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    source = open_source("solar_cells:labeled:0:2")
    assert source.count == 4 and source.class_names == ("functional", "defective")
    for index in range(4):
        image, label = source.load(tf.constant(index, tf.int64))
        number = int(source.ids(np.array([index]))[0][4:8])
        assert int(image[0, 0, 0]) == number and int(label) == (number % 4 >= 2)
    for name in ("solar_cells:labelled", "solar_cells:test:x", "solar_cells:test:1:2:3"):
        with pytest.raises(UserError, match="solar_cells"):
            open_source(name)


def test_missing_package(monkeypatch):
    monkeypatch.setattr(solar_cells, "package_folder", lambda module: None)
    with pytest.raises(UserError, match=r"needs the package elpv-dataset: pip install 'ns_jax\[solar\]'"):
        open_source("solar_cells:test")
