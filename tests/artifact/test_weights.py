"""The model folder: what is saved is what is loaded, and a changed byte is noticed."""

import dataclasses
import hashlib
import pathlib

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
from etils import epath
from flax.traverse_util import flatten_dict

from ns_jax.artifact.metadata import model_metadata
from ns_jax.artifact.weights import WEIGHTS, Artifact, describe_differences, load_artifact, save_artifact
from ns_jax.errors import UserError
from ns_jax.files import file_sha256
from ns_jax.interop.foreign import check_artifact, expected_shapes
from ns_jax.models.registry import get_architecture
from tests.interop.weights import random_artifact

SMALL = "efficientnet-small"
VECTORS = "tests.inference.own_models:dense_network"


@pytest.fixture
def folder(tmp_path):
    artifact = random_artifact(SMALL, 3)
    save_artifact(epath.Path(tmp_path / "model"), artifact.variables, artifact.metadata)
    return epath.Path(tmp_path / "model")


def test_bytes_of_the_weights_are_those_of_version_0_1(folder):
    flat = flatten_dict(random_artifact(SMALL, 3).variables, sep="/")
    assert (folder / WEIGHTS).read_bytes() == safetensors.numpy.save(flat)
    assert load_artifact(folder).fingerprint == hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()


def test_round_trip(folder):
    want, got = random_artifact(SMALL, 3), load_artifact(folder)
    assert got.metadata == want.metadata | {"fingerprint": got.fingerprint}
    want, got = flatten_dict(want.variables), flatten_dict(got.variables)
    assert want.keys() == got.keys()
    for key, value in want.items():
        np.testing.assert_array_equal(got[key], value)


def test_a_network_without_batch_norm_has_an_empty_tree(tmp_path):
    artifact = random_artifact(VECTORS, 3)
    assert artifact.variables["batch_stats"] == {}
    save_artifact(epath.Path(tmp_path), artifact.variables, artifact.metadata)
    again = load_artifact(epath.Path(tmp_path))
    assert again.variables["batch_stats"] == {} and flatten_dict(again.variables).keys()
    check_artifact(again)


def test_a_flipped_bit_is_noticed(folder):
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / WEIGHTS).write_bytes(bytes(data))
    with pytest.raises(UserError, match=r"weights\.safetensors is damaged.*[Cc]opy the folder again"):
        load_artifact(folder)


class Bucket:
    """A path as epath's of a bucket: its files are TensorFlow's, without `readinto`."""

    def __init__(self, path):
        self.path = str(path)

    def open(self, mode):
        return tf.io.gfile.GFile(self.path, mode)


def test_files_of_a_bucket_have_a_fingerprint(tmp_path, monkeypatch):
    data = np.random.default_rng(0).bytes(1000)
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(ValueError), Bucket(tmp_path / "x").open("rb") as file:
        hashlib.file_digest(file, "sha256")  # what this project did
    monkeypatch.setattr("ns_jax.files.HASHED", 300)  # several blocks, the last one smaller
    assert file_sha256(Bucket(tmp_path / "x")) == hashlib.sha256(data).hexdigest()
    assert file_sha256(pathlib.Path(tmp_path / "x")) == hashlib.sha256(data).hexdigest()


def changed(name: str, value: float) -> Artifact:
    """A small artifact, one number of one array changed."""
    artifact = random_artifact(SMALL, 3)
    flatten_dict(artifact.variables, sep="/")[name].flat[1] = value
    return artifact


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("params/stem/kernel", np.nan, "params/stem/kernel has values that are not finite"),
        ("params/classifier/bias", np.inf, "params/classifier/bias has values that are not finite"),
        ("batch_stats/stem_bn/mean", np.nan, "batch_stats/stem_bn/mean has values that are not finite"),
        ("batch_stats/head_bn/var", -0.1, "batch_stats/head_bn/var has negative variances"),
    ],
)
def test_broken_weights_are_refused(tmp_path, name, value, words):
    with pytest.raises(UserError, match=words):
        check_artifact(changed(name, value))
    check_artifact(random_artifact(SMALL, 3))


def test_nothing_is_written_where_training_diverged(tmp_path):
    artifact = changed("params/stem/kernel", np.nan)
    with pytest.raises(UserError, match="not finite after the last step"):
        save_artifact(epath.Path(tmp_path / "model"), artifact.variables, artifact.metadata)
    assert not (tmp_path / "model").exists()


def test_a_differing_model_is_described(tmp_path):
    artifact = random_artifact(SMALL, 3)
    metadata = model_metadata(get_architecture(SMALL), 2)
    with pytest.raises(UserError) as error:
        check_artifact(dataclasses.replace(artifact, metadata=metadata))
    assert "with 2 classes" in str(error.value) and "params/classifier/bias is (3,), not (2,)" in str(error.value)


def test_a_long_list_is_cut():
    have = {f"surplus_{index:06}": (1,) for index in range(100_000)}
    text = describe_differences(have, dict(expected_shapes(SMALL, 3)))
    assert len(text) < 2000 and text.endswith("more") and text.count("; ") == 20
    assert describe_differences({"a": (1,)}, {"a": (1,)}) == ""
