"""Depthwise convolution with a CPU lowering of its own.

XLA's CPU backend runs grouped convolutions one channel at a time (jax-ml/jax#23713,
openxla/xla#34273). There, a depthwise convolution is instead k x k shifted multiply-adds, which
the compiler fuses into one vectorised loop over the channels. The form is chosen by platform when
the program is lowered: TPU and GPU keep the native convolution.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
from jax import lax

from ns_jax.models.ops.native_conv import input_gradient, kernel_gradient, native_conv

BLOCK_ELEMENTS = 65_536  # of each running sum of the weight gradient, so that all taps' stay in cache


def _tap(padded, i, j, out_h, out_w, stride):
    """The input pixels that tap (i, j) meets, [N, out_h, out_w, C]."""
    n, _, _, c = padded.shape
    limits = (n, i + (out_h - 1) * stride + 1, j + (out_w - 1) * stride + 1, c)
    return lax.slice(padded, (0, i, j, 0), limits, (1, stride, stride, 1))


def _pad_same(x, k, stride):
    rows, cols = lax.padtype_to_pads(x.shape[1:3], (k, k), (stride, stride), "SAME")
    return jnp.pad(x, ((0, 0), rows, cols, (0, 0)))


def _computed_once(x):
    """`x`, for finite values, as an array that its consumers read.

    The compiler would compute a sum of taps again in each of its consumers. It never repeats a
    division, and cannot know that this one divides by 1 (optimization barriers do not reach its
    fusion pass).
    """
    return x / (x * 0.0 + 1.0)


def _weighted_sum(terms):
    """Sum of pixels [N, H, W, C] times weight [C] over pairs, in float32."""
    products = (
        pixels.astype(jnp.float32) * weight.astype(jnp.float32).reshape(1, 1, 1, -1) for pixels, weight in terms
    )
    return functools.reduce(jnp.add, products)


def _cpu(x, kernel, stride):
    k = kernel.shape[0]
    out_h, out_w = (-(-size // stride) for size in x.shape[1:3])
    padded = _pad_same(x, k, stride)
    taps = itertools.product(range(k), range(k))
    out = _weighted_sum((_tap(padded, i, j, out_h, out_w, stride), kernel[i, j, 0]) for i, j in taps)
    return _computed_once(out).astype(x.dtype)


def _phase_taps(size, k, stride):
    """Per phase p % stride of the input pixels p, the (tap, offset) of outputs p // stride + offset that they meet."""
    ((low, _),) = lax.padtype_to_pads((size,), (k,), (stride,), "SAME")
    return [
        [(i, (phase + low - i) // stride) for i in range(k) if (phase + low - i) % stride == 0]
        for phase in range(stride)
    ]


def _cpu_input_grad(g, kernel, x_shape, stride):
    # Input pixels of one phase meet the same taps, of consecutive outputs: each phase is a
    # correlation without stride or holes.
    k, (n, out_h, out_w, c) = kernel.shape[0], g.shape
    taps_h, taps_w = (_phase_taps(size, k, stride) for size in x_shape[1:3])
    lows, highs = zip(
        *(
            (max(-o for taps in phases for _, o in taps), max(o for taps in phases for _, o in taps))
            for phases in (taps_h, taps_w)
        ),
        strict=True,
    )
    lows, highs = [max(0, low) for low in lows], [max(0, high) for high in highs]
    padded = jnp.pad(g, ((0, 0), (lows[0], highs[0]), (lows[1], highs[1]), (0, 0)))

    def phase(rows, columns):
        terms = [
            (_tap(padded, lows[0] + down, lows[1] + right, out_h, out_w, 1), kernel[i, j, 0])
            for (i, down), (j, right) in itertools.product(rows, columns)
        ]
        return _weighted_sum(terms).astype(g.dtype) if terms else jnp.zeros_like(g)

    if stride == 1:
        return phase(taps_h[0], taps_w[0])
    rows = [jnp.stack([phase(h, w) for w in taps_w], axis=3) for h in taps_h]
    whole = jnp.stack(rows, axis=2).reshape(n, out_h * stride, out_w * stride, c)
    return whole[:, : x_shape[1], : x_shape[2]]


def _largest_divisor(size: int, limit: int) -> int:
    return max(d for d in range(1, size + 1) if size % d == 0 and (d == 1 or d <= limit))


def _cpu_kernel_grad(x, g, kernel, stride):
    # Per tap, a running sum over blocks of a few images, or of a few rows of one: long vectorised
    # loops without a reduction, over arrays that stay in cache. The rest of the sum comes at the end.
    k, (n, out_h, out_w, c) = kernel.shape[0], g.shape
    rows = _largest_divisor(out_h, BLOCK_ELEMENTS // (out_w * c))
    images = _largest_divisor(n, BLOCK_ELEMENTS // (rows * out_w * c)) if rows == out_h else 1
    padded = _pad_same(x, k, stride)
    blocks = out_h // rows  # of one image

    def add_block(index, sums):
        image, row = index // blocks * images, index % blocks * rows
        size = (images, (rows - 1) * stride + k, padded.shape[2], c)
        pixels = lax.dynamic_slice(padded, (image, row * stride, 0, 0), size)
        grad = lax.dynamic_slice(g, (image, row, 0, 0), (images, rows, out_w, c)).astype(jnp.float32)
        return [
            total + _tap(pixels, i, j, rows, out_w, stride).astype(jnp.float32) * grad
            for total, (i, j) in zip(sums, itertools.product(range(k), range(k)), strict=True)
        ]

    zero = jnp.zeros((images, rows, out_w, c), jnp.float32)
    sums = lax.fori_loop(0, n // images * blocks, add_block, [zero] * k**2)
    return jnp.stack([total.sum((0, 1, 2)) for total in sums]).reshape(kernel.shape).astype(kernel.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise_conv(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Depthwise convolution with SAME padding.

    Args:
      x: [N, H, W, C], float32 or bfloat16.
      kernel: [k, k, 1, C]; its gradient has its dtype.
      stride: 1 or 2, both dimensions.

    Returns:
      [N, ceil(H / stride), ceil(W / stride), C], the dtype of `x`.
    """
    return lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(_cpu, stride=stride),
        default=functools.partial(native_conv, stride=stride, padding="SAME"),
    )


def _forward(x, kernel, stride):
    return depthwise_conv(x, kernel, stride), (x, kernel)


def _backward(stride, residuals, g):
    x, kernel = residuals
    input_grad = lax.platform_dependent(
        g,
        kernel,
        cpu=functools.partial(_cpu_input_grad, x_shape=x.shape, stride=stride),
        default=functools.partial(input_gradient, x_shape=x.shape, stride=stride, padding="SAME"),
    )
    kernel_grad = lax.platform_dependent(
        x,
        g,
        kernel,
        cpu=functools.partial(_cpu_kernel_grad, stride=stride),
        default=functools.partial(kernel_gradient, stride=stride, padding="SAME"),
    )
    return input_grad, kernel_grad


depthwise_conv.defvjp(_forward, _backward)
