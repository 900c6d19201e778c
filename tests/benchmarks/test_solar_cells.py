"""The benchmark of the solar cells, with answers and features that are made up."""

import importlib.util
import json
import os

import numpy as np
import pytest
from etils import epath
from PIL import Image

from benchmarks import runs, solar_cells
from ns_jax.data.sources.solar_cells import read_package, split_indices
from ns_jax.evaluators.predictions import Predictions, write_predictions
from tests.benchmarks.test_runs import cells as cells_of_table

# Not importorskip: once it is imported, other tests could not put a folder of theirs in its place.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("elpv_dataset") is None, reason="elpv-dataset is not installed"
)


@pytest.fixture
def made_up(monkeypatch):
    """Runs whose teacher answers at random, whose student knows, and whose control is in between."""
    cells = read_package()
    test = split_indices("test", cells.labels)
    truth, rng = cells.labels[test], np.random.default_rng(0)
    ids = np.array([os.path.basename(cells.paths[index]).encode() for index in test])

    def run_main(config, workdir, overrides):
        assert config == "configs/solar_cells.py:3" and overrides == {
            "compilation_cache_dir": workdir.parent / "compilation_cache"
        }
        for iteration, knowledge in (("iteration_0", 0.0), ("iteration_1", 0.9), ("control", 0.3)):
            defective = np.clip(knowledge * truth + (1 - knowledge) * rng.random(len(truth)), 0, 1)
            folder = workdir / iteration / "evaluations"
            folder.mkdir(parents=True)
            probs = np.stack([1 - defective, defective], 1)
            write_predictions(epath.Path(folder / "test.npz"), Predictions(ids, truth, probs, ("whole", "defective")))

    monkeypatch.setattr(runs, "run_main", run_main)
    features = np.random.default_rng(1).standard_normal((len(cells.labels), 8)) + 0.8 * cells.labels[:, None]
    monkeypatch.setattr(solar_cells, "pooled_features", lambda _: features)


def test_tables(made_up, tmp_path):
    by_draw, by_score = solar_cells.measure(tmp_path, [3]).split("\n\n")
    header, draw, mean = cells_of_table(by_draw)
    assert header == ["AUROC, draw", *solar_cells.METHODS] and draw[0] == "3" and draw[1:] == mean[1:]
    teacher, student, control, logistic, self_training = map(float, draw[1:])
    assert 0.4 < teacher < 0.6 < control < student and student > 0.99
    assert logistic > 0.85 and self_training > 0.85
    header, *rows = cells_of_table(by_score)
    assert header == ["mean of draws", "auroc", "balanced", "accuracy", "auroc of certain cells"]
    assert [row[0] for row in rows] == list(solar_cells.METHODS)
    solar_cells.draw_picture(tmp_path, [3], tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.size[0] > 800
    kept = json.loads((tmp_path / "draw-3.json").read_text())
    assert kept["student"]["accuracy"] > 0.95 and set(kept) == set(solar_cells.METHODS)
