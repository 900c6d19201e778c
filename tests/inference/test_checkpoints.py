"""Checkpoints opened as models."""

import jax
import numpy as np
import pytest
from etils import epath

from ns_jax.checkpoint import Checkpoints
from ns_jax.errors import UserError
from ns_jax.inference.model import read
from ns_jax.training.state import TrainState
from tests.interop.weights import random_artifact

SMALL = "efficientnet-small"


def state_of(artifact, step: int) -> TrainState:
    variables = artifact.variables
    return jax.device_put(TrainState(np.int32(step), {}, {}, {}, variables["params"], variables["batch_stats"]))


def test_checkpoints_say_which_model_they_are_of(tmp_path):
    first, second = (random_artifact(SMALL, 3, seed) for seed in (1, 2))
    metadata = first.metadata | {"resolution": 40, "class_names": ["cat", "dog", "eel"]}
    checkpoints = Checkpoints(epath.Path(tmp_path / "checkpoints"), keep=2, metadata=metadata)
    for step, artifact in ((6, first), (9, second)):
        checkpoints.save(state_of(artifact, step), step)
    checkpoints.wait()
    for path, steps, want in (
        ("checkpoints", 9, second),
        ("checkpoints/9", 9, second),
        ("checkpoints/6", 6, first),
        ("", 9, second),
    ):
        artifact = read(tmp_path / path)
        for field in ("variant", "resolution", "class_names", "crop_padding", "mean", "std"):
            assert np.array_equal(artifact.metadata[field], metadata[field]), field
        assert artifact.metadata["steps"] == steps
        jax.tree.map(np.testing.assert_array_equal, artifact.variables, want.variables)
    with pytest.raises(UserError, match="is efficientnet-small, not efficientnet-b0"):
        read(tmp_path / "checkpoints", "efficientnet-b0")


def test_checkpoint_without_metadata(tmp_path):
    checkpoints = Checkpoints(epath.Path(tmp_path), keep=1)
    checkpoints.save(state_of(random_artifact(SMALL, 3), 1), 1)
    checkpoints.wait()
    with pytest.raises(UserError, match="does not say which model"):
        read(tmp_path)


def test_checkpoint_of_a_network_without_batch_norm(tmp_path):
    variant = "tests.inference.own_models:dense_network"
    want = random_artifact(variant, 3)
    checkpoints = Checkpoints(epath.Path(tmp_path / "checkpoints"), keep=1, metadata=want.metadata)
    checkpoints.save(state_of(want, 5), 5)
    checkpoints.wait()
    artifact = read(tmp_path, variant)
    assert artifact.variables["batch_stats"] == {} and artifact.metadata["input_shape"] == [5]
    jax.tree.map(np.testing.assert_array_equal, artifact.variables, want.variables)
    with pytest.raises(UserError, match="whose code runs when it is opened"):
        read(tmp_path)


def test_checkpoint_with_wrong_metadata(tmp_path):
    artifact = random_artifact(SMALL, 3)
    checkpoints = Checkpoints(epath.Path(tmp_path), keep=1, metadata=artifact.metadata | {"std": [0.0] * 3})
    checkpoints.save(state_of(artifact, 1), 1)
    checkpoints.wait()
    with pytest.raises(UserError, match="the metadata in .*: std must be 3 finite numbers above 0"):
        read(tmp_path)
