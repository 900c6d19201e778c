"""Models side by side: the table, the pictures, and what cannot be compared."""

import json

import numpy as np
import pytest
from etils import epath

from ns_jax.data.corruptions.sequences import PERTURBATIONS
from ns_jax.data.corruptions.tables import CORRUPTIONS
from ns_jax.evaluators.predictions import Predictions, write_predictions
from ns_jax.report import robustness

DIGITS = "mnist5k:test"


def write_model_results(folder, seed, test=DIGITS):
    """What ns_jax.evaluate writes, of made-up numbers, and the predictions of four digits."""
    random = np.random.default_rng(seed)
    folder.mkdir()
    bins = {"count": [0, 3, 1], "confidence": [0, 0.5, 0.9], "accuracy": [0, 2 / 3, 1.0]}
    results = {
        "corruptions": {"errors": {name: random.random(5).tolist() for name in CORRUPTIONS}, "mean_error": 0.5},
        "perturbations": {"flips": {name: float(random.random()) for name in PERTURBATIONS}, "mean_flips": 0.25},
        "fgsm": {"epsilons": [0, 2], "correct_at": [3, 2], "count": 4, "epsilon_2": 0.5},
        "pgd": {"epsilons": [0, 16], "correct_at": [3, 0], "count": 4, "epsilon_16": 0.0},
        "calibration": {"bins": bins, "ece": 0.125},
        "selective": {"coverages": [0.5, 1.0], "risks": [0.0, 0.25], "aurc": 0.0625},
        "clean": {"top1": 0.75, "correct": 3, "count": 4},
    }
    for name, result in results.items():
        kind = "classification" if name == "clean" else name
        (folder / f"{name}.json").write_text(json.dumps({"type": kind, "test": test, "seconds": 1.5} | result))
    ids, labels = digits()
    probs = random.dirichlet(np.full(10, 0.2), 4).astype(np.float32)
    names = tuple(map(str, range(10)))
    write_predictions(epath.Path(folder / "clean.npz"), Predictions(ids, labels, probs, names))


def digits():
    from ns_jax.data.sources.registry import open_source

    source = open_source(DIGITS)
    labels = [int(source.load(index)[1]) for index in range(4)]
    return source.ids(np.arange(4)), np.array(labels, np.int32)


def test_side_by_side(tmp_path, capsys):
    write_model_results(tmp_path / "a", 0)
    write_model_results(tmp_path / "b", 1)
    robustness.main(["teacher=" + str(tmp_path / "a"), "student=" + str(tmp_path / "b"), f"--out={tmp_path / 'out'}"])
    printed = capsys.readouterr().out
    assert "teacher" in printed and "| fgsm " in printed and "seconds" not in printed
    made = {path.name for path in (tmp_path / "out").iterdir()}
    pictures = ("corruptions", "severities", "flips", "fgsm", "pgd", "reliability", "selective", "disagreements")
    assert made == {"robustness.md", *(f"{name}.png" for name in pictures)}
    assert all((tmp_path / "out" / name).read_bytes()[:4] == b"\x89PNG" for name in made if name.endswith("png"))


def test_disagreements_are_images_of_which_one_model_is_right():
    ids, labels = np.array([b"0", b"1", b"2", b"3"]), np.array([0, 1, 0, 1])
    first = Predictions(ids, labels, np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.3, 0.7]]), ("a", "b"))
    second = Predictions(ids, labels, np.array([[0.8, 0.2], [0.05, 0.95], [0.4, 0.6], [0.2, 0.8]]), ("a", "b"))
    # Image 1: the second is right, 0.95 sure. Image 2: the first, 0.6 sure.
    assert robustness.disagreements(first, second).tolist() == [1, 2]


def test_what_cannot_be_compared(tmp_path, capsys):
    write_model_results(tmp_path / "a", 0)
    write_model_results(tmp_path / "other", 1, test="folder:/elsewhere")
    (tmp_path / "empty").mkdir()
    for models, words in (
        (["a=" + str(tmp_path / "nowhere")], "there is no such folder"),
        (["a=" + str(tmp_path / "empty")], "no results in it"),
        ([str(tmp_path / "a")], "write NAME=RESULTS"),
        (["a=" + str(tmp_path / "a"), "b=" + str(tmp_path / "other")], "measure the models on the same images"),
    ):
        with pytest.raises(SystemExit) as stopped:
            robustness.main([*models, f"--out={tmp_path / 'out'}"])
        assert stopped.value.code == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
