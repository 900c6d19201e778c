"""A run on one device and on eight."""

import json

import numpy as np
import pytest
import safetensors.numpy

from tests import command


def assert_same_weights(folders, atol: float = 2e-4) -> None:
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
        losses = [json.loads((folder / "evaluation.json").read_text())["cross_entropy"] for folder in folders]
        assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_one_and_eight_devices_agree(tmp_path):
    """Six steps."""
    for devices in (1, 8):
        process = command.run(tmp_path / str(devices), "--config.train_epochs=3", env=command.quick_environment(devices))
        assert process.returncode == 0, process.stderr
    assert_same_runs(tmp_path / "1", tmp_path / "8")
