"""A run on one device and on eight."""

import json

import numpy as np
import pytest
import safetensors.numpy

from tests import command


def test_one_and_eight_devices_agree(tmp_path):
    """Six steps: the losses to float32 round-off, and the very same images selected."""
    fewer = "--config.train_epochs=3"
    for devices in (1, 8):
        process = command.run(tmp_path / str(devices), fewer, devices=devices)
        assert process.returncode == 0, process.stderr
    one, eight = tmp_path / "1", tmp_path / "8"
    for path in sorted(one.glob("iteration_1/selection/*.npy")):
        np.testing.assert_array_equal(np.load(path), np.load(eight / path.relative_to(one)))
    for name in ("iteration_0", "iteration_1"):
        weights = [safetensors.numpy.load_file(folder / name / "model/weights.safetensors") for folder in (one, eight)]
        for key in weights[0]:
            np.testing.assert_allclose(weights[1][key], weights[0][key], atol=2e-4, err_msg=key)
        losses = [json.loads((folder / name / "evaluation.json").read_text())["cross_entropy"] for folder in (one, eight)]
        assert losses[1] == pytest.approx(losses[0], rel=1e-4)
