"""Models from outside the project, named by import path: opened, asked, given other classes and converted."""

import jax
import numpy as np
import pytest
from etils import epath
from flax.traverse_util import flatten_dict

import ns_jax
from ns_jax.artifact.metadata import network_of
from ns_jax.errors import UserError
from ns_jax.inference.model import Model
from ns_jax.interop import formats
from ns_jax.interop.adapt import adapt
from ns_jax.models import apply
from ns_jax.models.base import BuildOptions
from tests.command import assert_one_line_error, run_module
from tests.interop.weights import random_artifact

VECTORS = "tests.inference.own_models:dense_network"
IMAGES = "tests.inference.own_models:image_network"
INTEGERS = "tests.inference.own_models:integer_network"


def by_hand(artifact, x):
    """Logits of a DenseNetwork."""
    params = artifact.variables["params"]
    hidden = np.maximum(x.reshape(len(x), -1) @ params["hidden"]["kernel"] + params["hidden"]["bias"], 0)
    return hidden @ params["out"]["kernel"] + params["out"]["bias"]


def test_a_model_of_vectors(tmp_path):
    artifact = random_artifact(VECTORS, 3)
    formats.write(epath.Path(tmp_path / "model"), artifact, "artifact")
    model = ns_jax.load(tmp_path / "model", VECTORS)
    assert (model.resolution, model.num_classes, model.architecture.name) == (None, 3, VECTORS)
    x = np.random.default_rng(0).normal(size=(70, 5))
    logits = model.logits(x)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, by_hand(artifact, x), rtol=1e-5, atol=1e-6)
    answers = model.predict(x, top=2)
    assert [answer[0].index for answer in answers] == logits.argmax(-1).tolist()
    assert model.predict(x[4], top=2)[0][0].index == answers[4][0].index
    assert model.logits(x[:0]).shape == (0, 3)


def test_what_a_model_of_vectors_cannot_do(tmp_path):
    model = Model(random_artifact(VECTORS, 3))
    (tmp_path / "a.png").write_bytes(b"")
    for call, words in (
        (lambda: model.predict(tmp_path / "a.png"), r"a\.png: the model takes arrays of shape \[5\], no files"),
        (lambda: model.preprocess("a.png"), "no files"),
        (lambda: model.logits(np.zeros((2, 6))), r"arrays must be \[N, 5\], not \[2, 6\]"),
        (lambda: model.logits(np.zeros(5)), r"not \[5\]"),
        (lambda: model.logits(np.zeros((2, 5), complex)), "must be float32, not complex128"),
        (lambda: model.features(np.zeros((2, 5))), "has no features"),
        (lambda: adapt(random_artifact(VECTORS, 3), resolution=28), "a model of arrays"),
    ):
        with pytest.raises(UserError, match=words):
            call()


def test_integers_are_not_rounded_from_floats():
    artifact = random_artifact(INTEGERS, 3)
    model, x = Model(artifact), np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    out = artifact.variables["params"]["out"]
    want = np.array([[15.0], [51.0]]) @ out["kernel"] + out["bias"]
    np.testing.assert_allclose(model.logits(x), want, rtol=1e-5)
    with pytest.raises(UserError, match="must be int32, not float64"):
        model.logits(x / 1.0)


def test_a_model_of_images_without_batch_norm():
    artifact = random_artifact(IMAGES, 3)
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    mean, std = (np.array(artifact.metadata[name]) for name in ("mean", "std"))
    np.testing.assert_allclose(
        Model(artifact).logits(images), by_hand(artifact, (images / 255 - mean) / std), rtol=1e-4, atol=1e-4
    )


def test_probabilities_are_the_softmax_of_the_logits_in_the_networks_dtype():
    artifact = random_artifact(VECTORS, 3)
    x = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    whole = network_of(artifact.metadata)
    want = np.exp(by_hand(artifact, x))
    got = apply.probabilities(whole, artifact.variables, x)
    np.testing.assert_allclose(got, want / want.sum(-1, keepdims=True), rtol=1e-5)
    half = network_of(artifact.metadata, BuildOptions(dtype=jax.numpy.bfloat16))
    rounded = apply.logits(half, artifact.variables, x)
    assert rounded.dtype == np.float32
    error = np.abs(rounded - by_hand(artifact, x)).max()
    assert 1e-5 < error < 0.1


def test_a_fresh_head_of_another_name():
    artifact = random_artifact(VECTORS, 3)
    before, after = (
        flatten_dict(variables, sep="/") for variables in (artifact.variables, adapt(artifact, num_classes=9).variables)
    )
    assert after["params/out/kernel"].shape == (7, 9)
    np.testing.assert_array_equal(after["params/hidden/kernel"], before["params/hidden/kernel"])


def test_a_file_does_not_choose_which_code_runs(tmp_path):
    formats.write(epath.Path(tmp_path / "model"), random_artifact(VECTORS, 3), "artifact")
    with pytest.raises(UserError, match="whose code runs when it is opened"):
        ns_jax.load(tmp_path / "model")


@pytest.mark.parametrize("name", ["saved_model", "stablehlo"])
@pytest.mark.parametrize("variant", [VECTORS, INTEGERS])
def test_programs(tmp_path, name, variant):
    artifact = random_artifact(variant, 3)
    formats.write(epath.Path(tmp_path / "program"), artifact, name)
    examples = formats.export.random_examples(artifact.metadata, 3)
    got = formats.PROGRAMS[name][1](epath.Path(tmp_path / "program"), examples)
    np.testing.assert_allclose(got, Model(artifact).logits(examples), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["saved_model", "stablehlo"])
def test_a_model_that_needs_the_size_of_a_batch(tmp_path, name):
    artifact = random_artifact("tests.inference.own_models:python_network", 3)
    assert Model(artifact).logits(np.zeros((2, 5))).shape == (2, 3)
    with pytest.raises(UserError, match="python_network cannot be exported for batches of any size") as error:
        formats.write(epath.Path(tmp_path / "program"), artifact, name)
    assert "\n" not in str(error.value)


def test_convert(tmp_path):
    formats.write(epath.Path(tmp_path / "model"), random_artifact(IMAGES, 3), "artifact")
    source, variant = f"--from={tmp_path / 'model'}", f"--variant={IMAGES}"
    for format_name, target in (("timm", "x.safetensors"), ("npz", "x.npz"), ("tf", "x")):
        with pytest.raises(UserError, match=f"has no names in {format_name} files: its formats are artifact, saved"):
            formats.write(epath.Path(tmp_path / target), random_artifact(IMAGES, 3), format_name)
    assert_one_line_error(run_module("convert", source, f"--to={tmp_path / 'x.npz'}", variant), "has no names in npz")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    process = run_module("convert", source, f"--to={tmp_path / 'again'}", variant)
    assert process.returncode == 0 and "same bits" in process.stdout, process.stderr
