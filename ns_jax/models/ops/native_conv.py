"""The platform's own convolution, with the gradient of its kernel in the kernel's dtype.

A bfloat16 model has float32 kernels. A gradient that leaves the convolution as bfloat16 is rounded on each
device, and the compiler adds up devices' gradients in bfloat16 too. The official code adds them in float32. On
TPU the products are summed in float32 anyway, and here they stay so; GPUs widen the gradient afterwards.
"""

import functools

import jax
from jax import lax

LAYOUT = ("NHWC", "HWIO", "NHWC")


def _conv(x, kernel, stride, padding):
    return lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        (stride, stride),
        padding,
        dimension_numbers=LAYOUT,
        feature_group_count=x.shape[-1] // kernel.shape[2],
    )


def input_gradient(g: jax.Array, kernel: jax.Array, x_shape: tuple, stride: int, padding) -> jax.Array:
    """Gradient of `native_conv` with respect to its input, in the dtype of `g`."""
    x = jax.ShapeDtypeStruct(x_shape, g.dtype)
    return jax.linear_transpose(lambda v: _conv(v, kernel, stride, padding), x)(g)[0]


def _narrow_kernel_gradient(x, g, kernel, stride, padding):
    like = jax.ShapeDtypeStruct(kernel.shape, x.dtype)
    return jax.linear_transpose(lambda k: _conv(x, k, stride, padding), like)(g)[0].astype(kernel.dtype)


def _wide_kernel_gradient(x, g, kernel, stride, padding):
    # A convolution that sums over images, as others do over features; its kernel is `g`, with taps `stride` apart.
    # (The transpose of a convolution with another output dtype would mix dtypes, which lax refuses.)
    sizes, taps, outs = x.shape[1:3], kernel.shape[:2], g.shape[1:3]
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(sizes, taps, (stride, stride), padding)
    pads = [
        (low, tap + (out - 1) * stride - size - low)
        for (low, _), tap, out, size in zip(padding, taps, outs, sizes, strict=True)
    ]
    return lax.conv_general_dilated(
        x,
        g,
        (1, 1),
        pads,
        rhs_dilation=(stride, stride),
        dimension_numbers=("CHWN", "IHWO", "HWNC"),
        batch_group_count=x.shape[-1] // kernel.shape[2],
        preferred_element_type=kernel.dtype,
    )


def kernel_gradient(x: jax.Array, g: jax.Array, kernel: jax.Array, stride: int, padding) -> jax.Array:
    """Gradient of `native_conv` with respect to its kernel, whose shape and dtype it has."""
    options = {"stride": stride, "padding": padding}
    return lax.platform_dependent(
        x,
        g,
        kernel,
        tpu=functools.partial(_wide_kernel_gradient, **options),
        default=functools.partial(_narrow_kernel_gradient, **options),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def native_conv(x: jax.Array, kernel: jax.Array, stride: int, padding) -> jax.Array:
    """[N, H, W, C] with kernel [k, k, C / groups, D] to [N, H', W', D], computed in and of the dtype of `x`.

    `padding`: 'SAME' (TensorFlow's), 'VALID', or a tuple of pairs (low, high).
    """
    return _conv(x, kernel, stride, padding)


def _forward(x, kernel, stride, padding):
    return native_conv(x, kernel, stride, padding), (x, kernel)


def _backward(stride, padding, residuals, g):
    x, kernel = residuals
    return input_gradient(g, kernel, x.shape, stride, padding), kernel_gradient(x, g, kernel, stride, padding)


native_conv.defvjp(_forward, _backward)
