"""The CPU forms against the native convolutions, and which platform gets which."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from ns_jax.models import depthwise
from ns_jax.models.depthwise import _native as native_depthwise
from ns_jax.models.depthwise import depthwise_conv
from ns_jax.models.pointwise import _native as native_pointwise
from ns_jax.models.pointwise import pointwise_conv


def relative_error(found, expected):
    # Measured against the tensor's size, not its single entries: gradients have entries near 0.
    return float(np.abs(np.asarray(found, np.float64) - expected).max() / max(np.abs(expected).max(), 1e-30))


SHAPES = {
    "batch": st.integers(1, 5), "height": st.integers(1, 17), "width": st.integers(1, 17), "channels": st.integers(1, 20),
    "kernel": st.sampled_from((3, 5)), "stride": st.sampled_from((1, 2)), "seed": st.integers(0, 2**31 - 1)}  # fmt: skip


def check_depthwise(batch, height, width, channels, kernel, stride, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(batch, height, width, channels)).astype(np.float32)
    weights = rng.normal(size=(kernel, kernel, 1, channels)).astype(np.float32)
    g = rng.normal(size=(batch, -(-height // stride), -(-width // stride), channels)).astype(np.float32)

    @jax.jit
    def both(x, weights, g):
        pairs = []
        for conv in (depthwise_conv, native_depthwise):
            out, vjp = jax.vjp(functools.partial(conv, stride=stride), x, weights)
            pairs.append((out, *vjp(g)))
        return pairs

    for one, two in zip(*both(x, weights, g), strict=True):
        assert one.shape == two.shape
        assert one.dtype == two.dtype and relative_error(one, two) <= 1e-5


@hypothesis.settings(max_examples=12, deadline=None, derandomize=True)
@hypothesis.given(**SHAPES)
def test_depthwise_equals_native(**shape):
    check_depthwise(**shape)


@pytest.mark.slow
@hypothesis.settings(max_examples=200, deadline=None, derandomize=True)
@hypothesis.given(**SHAPES)
def test_depthwise_equals_native_on_200_shapes(**shape):
    check_depthwise(**shape)


@pytest.mark.parametrize("stride", (1, 2))
@pytest.mark.parametrize("elements", (1, 2 * 6 * 4, 2 * 144 * 4))  # of a block: a row, a few, two images or more
def test_weight_gradient_in_blocks(stride, elements, monkeypatch):
    monkeypatch.setattr(depthwise, "BLOCK_ELEMENTS", elements)
    x = jax.random.normal(jax.random.key(0), (6, 12, 12, 4))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 1, 4))
    expected, vjp = jax.vjp(lambda k: native_depthwise(x, k, stride), kernel)
    found = depthwise._cpu_kernel_grad(x, expected, kernel.shape, stride)
    assert relative_error(found, vjp(expected)[0]) <= 1e-5


@pytest.mark.parametrize("stride", (1, 2))
def test_depthwise_bfloat16(stride):
    x = jax.random.normal(jax.random.key(0), (3, 8, 7, 5), jnp.bfloat16)
    weights = jax.random.normal(jax.random.key(1), (5, 5, 1, 5), jnp.bfloat16)
    found, vjp = jax.vjp(functools.partial(depthwise_conv, stride=stride), x, weights)
    wide = lambda a, b: native_depthwise(a, b, stride)
    expected, native_vjp = jax.vjp(wide, x.astype(jnp.float32), weights.astype(jnp.float32))
    g = jax.random.normal(jax.random.key(2), expected.shape, jnp.bfloat16)
    for one, two in zip((found, *vjp(g)), (expected, *native_vjp(g.astype(jnp.float32))), strict=True):
        assert one.dtype == jnp.bfloat16 and relative_error(one, two) <= 2**-8


def test_pointwise_equals_native():
    x = jax.random.normal(jax.random.key(0), (3, 5, 6, 7))
    weights = jax.random.normal(jax.random.key(1), (1, 1, 7, 4))
    found, vjp = jax.vjp(pointwise_conv, x, weights)
    expected, native_vjp = jax.vjp(native_pointwise, x, weights)
    for one, two in zip((found, *vjp(found)), (expected, *native_vjp(expected)), strict=True):
        assert relative_error(one, two) <= 1e-5


def lowered(platform):
    def loss(x, depthwise, pointwise):
        return jnp.sum(pointwise_conv(depthwise_conv(x, depthwise, 2), pointwise))

    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((2, 8, 8, 6), (3, 3, 1, 6), (1, 1, 6, 4))]
    return jax.export.export(jax.jit(jax.value_and_grad(loss, (0, 1, 2))), platforms=[platform])(*shapes).mlir_module()


@pytest.mark.parametrize("platform", ("tpu", "cuda"))
def test_accelerators_keep_the_native_convolution(platform):
    text = lowered(platform)
    assert "feature_group_count = 6" in text
    assert text.count("stablehlo.convolution") >= 6 - 1  # two forward, and their gradients
    assert "stablehlo.while" not in text and "stablehlo.dot_general" not in text


def test_cpu_has_no_convolution():
    assert "stablehlo.convolution" not in lowered("cpu")


