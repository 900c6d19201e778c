"""The CPU forms against the native convolutions, and which platform gets which."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from ns_jax.models.ops import depthwise
from ns_jax.models.ops.depthwise import depthwise_conv
from ns_jax.models.ops.native_conv import _wide_kernel_gradient, native_conv
from ns_jax.models.ops.pointwise import pointwise_conv


def relative_error(found, expected):
    # Measured against the tensor's size, not its single entries: gradients have entries near 0.
    return float(np.abs(np.asarray(found, np.float64) - expected).max() / max(np.abs(expected).max(), 1e-30))


def lax_conv(x, kernel, stride, padding="SAME"):
    """Differentiated by jax itself; of one dtype."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1] // kernel.shape[2],
    )


def value_and_gradients(function, *arguments):
    """The value at `arguments` and its gradients, for the value as cotangent; compiled as one program."""

    def both(*arguments):
        value, vjp = jax.vjp(function, *arguments)
        return value, *vjp(value)

    return jax.jit(both)(*arguments)


SHAPES = {
    "batch": st.integers(1, 5),
    "height": st.integers(1, 17),
    "width": st.integers(1, 17),
    "channels": st.integers(1, 20),
    "kernel": st.sampled_from((3, 5)),
    "stride": st.sampled_from((1, 2)),
    "seed": st.integers(0, 2**31 - 1),
}


def check_depthwise(batch, height, width, channels, kernel, stride, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(batch, height, width, channels)).astype(np.float32)
    weights = rng.normal(size=(kernel, kernel, 1, channels)).astype(np.float32)
    g = rng.normal(size=(batch, -(-height // stride), -(-width // stride), channels)).astype(np.float32)

    @jax.jit
    def both(x, weights, g):
        pairs = []
        for conv in (depthwise_conv, lax_conv):
            out, vjp = jax.vjp(functools.partial(conv, stride=stride), x, weights)
            pairs.append((out, *vjp(g)))
        wide = _wide_kernel_gradient(x, g, weights, stride, "SAME")
        return (*pairs[0], wide), (*pairs[1], pairs[1][-1])

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
    expected, gradient = value_and_gradients(lambda k: lax_conv(x, k, stride), kernel)
    found = jax.jit(depthwise._cpu_kernel_grad, static_argnums=3)(x, expected, kernel, stride)
    assert relative_error(found, gradient) <= 1e-5


@pytest.mark.parametrize("stride", (1, 2))
def test_depthwise_bfloat16(stride):
    x = jax.random.normal(jax.random.key(0), (3, 8, 7, 5), jnp.bfloat16)
    weights = jax.random.normal(jax.random.key(1), (5, 5, 1, 5), jnp.bfloat16)
    g = jax.random.normal(jax.random.key(2), (3, -(-8 // stride), -(-7 // stride), 5), jnp.bfloat16)

    @functools.partial(jax.jit, static_argnums=0)
    def both(conv, x, weights, g):
        value, vjp = jax.vjp(functools.partial(conv, stride=stride), x, weights)
        return value, *vjp(g)

    wide = both(lax_conv, *(a.astype(jnp.float32) for a in (x, weights, g)))
    for one, two in zip(both(depthwise_conv, x, weights, g), wide, strict=True):
        assert one.dtype == jnp.bfloat16 and relative_error(one, two) <= 2**-8


def test_pointwise_equals_native():
    x = jax.random.normal(jax.random.key(0), (3, 5, 6, 7))
    weights = jax.random.normal(jax.random.key(1), (1, 1, 7, 4))
    found = value_and_gradients(pointwise_conv, x, weights)
    expected = value_and_gradients(functools.partial(lax_conv, stride=1), x, weights)
    for one, two in zip(found, expected, strict=True):
        assert relative_error(one, two) <= 1e-5


@pytest.mark.parametrize("kernel", [(3, 3, 6, 4), (5, 5, 1, 6), (1, 1, 6, 4)])  # usual, depthwise, pointwise
@pytest.mark.parametrize(("stride", "padding"), [(1, "SAME"), (2, "SAME"), (1, "VALID"), (2, ((1, 1), (2, 2)))])
def test_both_forms_of_the_native_kernel_gradient(kernel, stride, padding):
    x, weights = jax.random.normal(jax.random.key(0), (3, 9, 6, 6)), jax.random.normal(jax.random.key(1), kernel)
    expected = value_and_gradients(functools.partial(lax_conv, stride=stride, padding=padding), x, weights)
    found = value_and_gradients(functools.partial(native_conv, stride=stride, padding=padding), x, weights)
    for one, two in zip(found, expected, strict=True):
        assert relative_error(one, two) <= 1e-5
    wide = jax.jit(_wide_kernel_gradient, static_argnums=(3, 4))(x, expected[0], weights, stride, padding)
    assert relative_error(wide, expected[2]) <= 1e-5


def test_kernels_of_a_bfloat16_model_have_float32_gradients():
    """Sums of products of bfloat16 that are not rounded to it, which needs 2**-9."""
    x = jax.random.normal(jax.random.key(0), (64, 9, 9, 6), jnp.bfloat16)
    convolutions = (
        (pointwise_conv, (1, 1, 6, 4), 1),
        (functools.partial(depthwise_conv, stride=2), (3, 3, 1, 6), 2),
        (functools.partial(native_conv, stride=2, padding="SAME"), (3, 3, 6, 4), 2),
    )
    for conv, shape, stride in convolutions:
        out, vjp = jax.vjp(conv, x, jax.random.normal(jax.random.key(1), shape))
        g = jax.random.normal(jax.random.key(2), out.shape, jnp.bfloat16)
        x_grad, kernel_grad = jax.jit(vjp)(g)
        assert out.dtype == x_grad.dtype == jnp.bfloat16 and kernel_grad.dtype == jnp.float32
        wide = functools.partial(lax_conv, x.astype(jnp.float32), stride=stride)
        (expected,) = jax.vjp(wide, jnp.zeros(shape))[1](g.astype(jnp.float32))
        on_tpu = _wide_kernel_gradient(x, g, jnp.zeros(shape), stride, "SAME")
        assert relative_error(on_tpu, expected) <= 1e-5
        if conv is not convolutions[-1][0]:  # which off TPUs is rounded
            assert relative_error(kernel_grad, expected) <= 1e-5


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
