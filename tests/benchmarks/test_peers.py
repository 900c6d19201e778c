"""The peers at toy size, as far as they are installed."""

import importlib.util
import json
import sys

import numpy as np
import pytest

from benchmarks.model_speed import make_task
from benchmarks.peers import __main__ as peers
from benchmarks.peers import linear
from benchmarks.peers import task as peer_task
from tests.benchmarks.test_runs import cells as cells_of_table


def images_of(labels: np.ndarray, rng) -> np.ndarray:
    """Dark images with a bright bar where the label says."""
    images = rng.integers(0, 60, (len(labels), 28, 28, 3), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 8] = 255
    return images


@pytest.fixture
def toy(tmp_path):
    """The folder of a task of 30 labeled, 60 unlabeled and 50 test images."""
    rng, labels = np.random.default_rng(0), [np.tile(np.arange(10), count) for count in (3, 6, 5)]
    task = peer_task.Task(
        "digits", 0, 10, 10, 2, 100, flip=False, threads=1, network=make_task("training", "efficientnet-small", 1, 1)
    )
    labeled, unlabeled, test = (images_of(own, rng) for own in labels)
    arrays = {
        "labeled_images": labeled, "unlabeled_images": unlabeled, "test_images": test,
        "labeled_labels": labels[0], "test_labels": labels[2],
    }  # fmt: skip
    peer_task.write(tmp_path, task, arrays)
    return tmp_path


def test_classifiers_of_pixels(toy, capsys, monkeypatch):
    monkeypatch.setattr(linear, "MOST", 20)
    task, images = peer_task.read(toy)
    assert task.network.variant == "efficientnet-small" and task.steps(50) == 2
    linear.run(task, images)
    rows = [json.loads(line.removeprefix(peer_task.RESULT)) for line in capsys.readouterr().out.splitlines()]
    assert [row["method"] for row in rows] == list(linear.methods(0))
    assert all(row["top1"] > 60 and row["images"] == 0 for row in rows), rows


def test_a_peer_that_is_not_installed_says_how(toy, monkeypatch):
    monkeypatch.setitem(peers.PEERS, "nobody", ("linear", ("no_such_package",), "pip install nobody"))
    (row,) = peers.run_peer("nobody", toy, sys.executable)
    assert row == {"method": "nobody", "problem": "not installed: pip install nobody"}
    result = {"method": "a", "top1": 91.25, "seconds": 2.0, "images": 3000}
    header, first, second = cells_of_table(peers.table([result, row]))
    assert header == ["method", "top-1, %", "seconds", "images passed", "images/s"]
    assert first == ["a", "91.2", "2", "3000", "1500"]
    assert second == ["nobody", "-", "-", "-", "not installed: pip install nobody"]


def test_images_that_pass():
    config = peers.config_of("digits")  # 400 steps of 50, then three times 400 of 50 + 200
    assert peers.images_passed(config, 100) == 400 * 50 + 3 * 400 * 250
    config = peers.config_of("fashion:3:10")  # 400 of 50, 700 of 25 + 75
    assert peers.images_passed(config, 100) == 400 * 50 + 700 * 100


@pytest.mark.parametrize("name", ["timm", "semilearn"])
def test_a_peer_with_a_network(toy, name):
    module, packages, _ = peers.PEERS[name]
    if not all(map(importlib.util.find_spec, packages)):
        pytest.skip(f"{name} is not installed")
    rows = peers.run_peer(name, toy, sys.executable)
    assert rows and all("problem" not in row and 0 <= row["top1"] <= 100 and row["images"] == 100 for row in rows)
