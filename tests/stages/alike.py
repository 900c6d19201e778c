"""Comparisons of runs on other numbers of devices or hosts."""

import json

import numpy as np
import pytest
import safetensors.numpy


def assert_same_weights(folders, atol: float = 1e-5) -> None:
    """The models in two folders are the same to float32 round-off."""
    one, other = (safetensors.numpy.load_file(folder / "model" / "weights.safetensors") for folder in folders)
    for key in one:
        np.testing.assert_allclose(other[key], one[key], atol=atol, err_msg=key)


def assert_same_runs(one, other) -> None:
    """The losses and weights to float32 round-off, and the very same images selected."""
    selected = sorted(one.glob("iteration_1/selection/*.npy"))
    assert selected
    for path in selected:
        np.testing.assert_array_equal(np.load(path), np.load(other / path.relative_to(one)))
    for name in ("iteration_0", "iteration_1"):
        folders = [run / name for run in (one, other)]
        assert_same_weights(folders)
        losses = [json.loads((folder / "evaluations/test.json").read_text())["cross_entropy"] for folder in folders]
        assert losses[1] == pytest.approx(losses[0], rel=1e-4)
        ours, theirs = (np.load(folder / "evaluations/test.npz") for folder in folders)
        for key in ("id", "label"):
            np.testing.assert_array_equal(theirs[key], ours[key])
        np.testing.assert_allclose(theirs["probs"], ours["probs"], atol=1e-4)
