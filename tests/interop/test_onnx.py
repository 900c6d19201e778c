"""Models as ONNX programs, and labelling by onnxruntime."""

import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from jax import lax

from ns_jax.errors import UserError
from ns_jax.inference.engine_predictor import EnginePredictor
from ns_jax.inference.model import Model
from ns_jax.inference.predictor import Predictor
from ns_jax.interop import export, formats
from ns_jax.interop.onnx_model.engines import ENGINES
from ns_jax.interop.onnx_model.program import program_of, to_onnx
from ns_jax.models.base import build_network
from ns_jax.models.ops.native_conv import native_conv
from ns_jax.models.registry import get_architecture
from ns_jax.parallel.mesh import make_mesh
from ns_jax.run.settings import test_view as view_of
from tests.interop.weights import random_artifact
from tests.tiny_model import TINY

pytestmark = pytest.mark.usefixtures("quick_compilation")
TOLERANCE = 2e-5  # of the logits' standard deviation


@pytest.fixture(scope="module")
def artifact():
    return random_artifact(TINY, 5)


def test_a_file_of_any_batch_size(artifact, tmp_path):
    pytest.importorskip("onnxruntime")
    path = epath.Path(tmp_path / "x.onnx")
    formats.write(path, artifact, formats.format_of(path))
    want = Model(artifact, fold_batch_norm=False)
    for count in (1, 4):
        images = export.random_examples(artifact.metadata, count)
        logits = formats.PROGRAMS["onnx"][1](path, images)
        assert logits.shape == (count, 5) and logits.dtype == np.float32
        assert np.abs(logits - want.logits(images)).max() <= TOLERANCE * logits.std()


def pooled(x):
    """A bottleneck of ResNet: a strided convolution after symmetric padding, max pooling, relu."""
    kernel = np.random.default_rng(1).normal(size=(3, 3, 4, 6)).astype(np.float32)
    x = native_conv(x, jnp.asarray(kernel), 2, ((1, 1), (1, 1)))
    return nn.max_pool(nn.relu(x), (3, 3), (2, 2), "SAME").reshape(x.shape[0], -1)


def assorted(x):
    """Operations that models of one's own may have."""
    x = jnp.pad(lax.slice_in_dim(lax.slice_in_dim(x, 1, 9, axis=1), 0, 8, 2, axis=2), ((0, 0), (1, 0), (0, 0), (0, 0)))
    x = jnp.concatenate([x, jnp.tanh(x) ** 2, nn.gelu(x, approximate=False)], -1).transpose(0, 2, 1, 3)
    x = jnp.where(x > 0.1, x, jnp.exp(-x)) / jnp.max(jnp.abs(x), axis=(1, 2, 3), keepdims=True)
    return jnp.einsum("nhwc,nhwd->ncd", x, x) + lax.rsqrt(jnp.arange(1.0, 13.0))[None, None]


@pytest.mark.parametrize("function", [pooled, assorted])
@pytest.mark.parametrize("engine", ENGINES)
def test_operations(function, engine):
    pytest.importorskip(engine)
    x = np.random.default_rng(0).normal(size=(3, 9, 8, 4)).astype(np.float32)
    want = np.asarray(jax.jit(function)(x))
    result = ENGINES[engine](program_of(function, x.shape[1:], x.dtype), 1, "float32")(x)
    assert result.shape == want.shape
    np.testing.assert_allclose(result, want, rtol=1e-4, atol=1e-5)


def test_a_primitive_without_a_form_is_named(artifact, monkeypatch):
    pytest.importorskip("onnx")
    from ns_jax.interop.onnx_model import primitives

    monkeypatch.delitem(primitives.TRANSLATIONS, "conv_general_dilated")
    with pytest.raises(UserError, match=r"cannot be written as ONNX: jax's primitive 'conv_general_dilated'"):
        to_onnx(artifact)


def test_a_missing_package_is_named(artifact, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it was not installed
    with pytest.raises(UserError, match=r"the package onnxruntime is not installed: .*pip install 'ns_jax\[onnx\]'"):
        ENGINES["onnxruntime"](b"", 1, "float32")
    with pytest.raises(UserError, match="choose one of jax, onnxruntime, openvino"):
        Model(artifact, engine="tensorrt")


def test_bfloat16_of_onnxruntime_is_refused():
    with pytest.raises(UserError, match="float32 here, not in bfloat16"):
        ENGINES["onnxruntime"](b"", 1, "bfloat16")


def test_a_loaded_model_by_onnxruntime(artifact):
    pytest.importorskip("onnxruntime")
    images = export.random_examples(artifact.metadata, 3)
    model = Model(artifact, engine="onnxruntime")
    want = Model(artifact).logits(images)
    np.testing.assert_allclose(model.logits(images), want, atol=TOLERANCE * want.std())
    assert model.features(images).shape == (3, 32)


def test_predictions_of_a_source(artifact):
    """The labels that the stage writes: float32 probabilities, to be rounded to float16."""
    pytest.importorskip("onnxruntime")
    from ns_jax.data.sources.registry import open_source

    source = open_source("mnist5k:test")
    network, mesh = build_network(get_architecture(TINY), 5), make_mesh()
    view, indices = view_of(network.inputs), np.arange(11)
    results = []
    for predictor in (
        Predictor(artifact, network, view, mesh, 8),
        EnginePredictor(artifact, network, view, mesh, 8, "onnxruntime"),
    ):
        batches = list(predictor.every_example(source, indices))
        assert np.array_equal(np.concatenate([places for _, _, places in batches]), indices)
        results.append(np.concatenate([probs for probs, _, _ in batches]))
    assert results[0].dtype == results[1].dtype == np.float32
    np.testing.assert_allclose(results[1], results[0], atol=1e-6)
