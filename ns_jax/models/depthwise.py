"""Depthwise convolution with a CPU lowering of its own.

XLA's CPU backend runs grouped convolutions one channel at a time (jax-ml/jax#23713,
openxla/xla#34273). There, a depthwise convolution is instead k x k shifted multiply-adds, which
the compiler fuses into one vectorised loop over the channels. The form is chosen by platform when
the program is lowered: TPU and GPU keep the native convolution.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding (low, high) of one spatial dimension."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _native(x, kernel, stride):
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1])  # fmt: skip


def _native_input_grad(g, kernel, x_shape, stride):
    x = jax.ShapeDtypeStruct(x_shape, g.dtype)
    return jax.linear_transpose(lambda v: _native(v, kernel, stride), x)(g)[0]


def _native_kernel_grad(x, g, kernel_shape, stride):
    kernel = jax.ShapeDtypeStruct(kernel_shape, x.dtype)
    return jax.linear_transpose(lambda k: _native(x, k, stride), kernel)(g)[0]


def _tap(padded, i, j, out_h, out_w, stride):
    """The input pixels that tap (i, j) meets, [N, out_h, out_w, C]."""
    n, _, _, c = padded.shape
    limits = (n, i + (out_h - 1) * stride + 1, j + (out_w - 1) * stride + 1, c)
    return lax.slice(padded, (0, i, j, 0), limits, (1, stride, stride, 1))


def _pad_same(x, k, stride):
    rows, cols = (same_padding(size, k, stride) for size in x.shape[1:3])
    return jnp.pad(x, ((0, 0), rows, cols, (0, 0)))


def _correlate(padded, kernel, out_h, out_w, stride):
    """Sum over taps in float32, whatever the input dtype."""
    k = kernel.shape[0]
    taps = kernel.astype(jnp.float32)
    total = None
    for i in range(k):
        for j in range(k):
            pixels = _tap(padded, i, j, out_h, out_w, stride).astype(jnp.float32)
            term = pixels * taps[i, j, 0].reshape(1, 1, 1, -1)
            total = term if total is None else total + term
    return total.astype(padded.dtype)


def _cpu(x, kernel, stride):
    out_h, out_w = (-(-size // stride) for size in x.shape[1:3])
    return _correlate(_pad_same(x, kernel.shape[0], stride), kernel, out_h, out_w, stride)


def _cpu_input_grad(g, kernel, x_shape, stride):
    # The transpose of a correlation: spread g by the stride, correlate with the flipped kernel.
    k = kernel.shape[0]
    config = [(0, 0, 0)]
    for size, out in zip(x_shape[1:3], g.shape[1:3], strict=True):
        low = k - 1 - same_padding(size, k, stride)[0]
        spread = (out - 1) * stride + 1
        config.append((low, size + k - 1 - low - spread, stride - 1))
    padded = lax.pad(g, jnp.zeros((), g.dtype), [*config, (0, 0, 0)])
    return _correlate(padded, kernel[::-1, ::-1], x_shape[1], x_shape[2], 1)


def _cpu_kernel_grad(x, g, kernel_shape, stride):
    # Images one after the other: the k x k x C sums stay in cache, and x and g are read once.
    k = kernel_shape[0]
    out_h, out_w = g.shape[1:3]
    padded = _pad_same(x, k, stride)

    def add_image(total, image):
        pixels, grad = image
        grad = grad.astype(jnp.float32)
        sums = [
            (_tap(pixels[None], i, j, out_h, out_w, stride)[0].astype(jnp.float32) * grad).sum((0, 1))
            for i in range(k) for j in range(k)
        ]  # fmt: skip
        return total + jnp.stack(sums), None

    total = jnp.zeros((k * k, x.shape[-1]), jnp.float32)
    total, _ = lax.scan(add_image, total, (padded, g))
    return total.reshape(kernel_shape).astype(x.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise_conv(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Depthwise convolution with SAME padding.

    Args:
      x: [N, H, W, C], float32 or bfloat16.
      kernel: [k, k, 1, C], the dtype of `x`.
      stride: 1 or 2, both dimensions.

    Returns:
      [N, ceil(H / stride), ceil(W / stride), C], the dtype of `x`.
    """
    return lax.platform_dependent(
        x, kernel,
        cpu=functools.partial(_cpu, stride=stride),
        default=functools.partial(_native, stride=stride))  # fmt: skip


def _forward(x, kernel, stride):
    return depthwise_conv(x, kernel, stride), (x, kernel)


def _backward(stride, residuals, g):
    x, kernel = residuals
    input_grad = lax.platform_dependent(
        g, kernel,
        cpu=functools.partial(_cpu_input_grad, x_shape=x.shape, stride=stride),
        default=functools.partial(_native_input_grad, x_shape=x.shape, stride=stride))  # fmt: skip
    kernel_grad = lax.platform_dependent(
        x, g,
        cpu=functools.partial(_cpu_kernel_grad, kernel_shape=kernel.shape, stride=stride),
        default=functools.partial(_native_kernel_grad, kernel_shape=kernel.shape, stride=stride))  # fmt: skip
    return input_grad, kernel_grad


depthwise_conv.defvjp(_forward, _backward)
