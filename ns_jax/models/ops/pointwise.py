"""1 x 1 convolution, as a matrix product on CPU and as the native convolution elsewhere.

XLA's CPU convolution of 1 x 1 is slower than the matrix product that it is, and its gradient lets
the compiler fuse the whole backward chain of the layer above (batch norm, swish, depthwise taps)
into the transposed copy that the product wants, computing all of it once more with strided reads.
The barrier in the CPU form keeps that copy plain.
"""

import jax
import jax.numpy as jnp
from jax import lax

from ns_jax.models.ops.native_conv import native_conv


def _native(x, kernel):
    return native_conv(x, kernel, 1, "VALID")


def _native_grads(x, kernel, g):
    return jax.vjp(_native, x, kernel)[1](g)


def _cpu(x, kernel):
    return jnp.einsum("nhwc,cd->nhwd", x, kernel[0, 0].astype(x.dtype))


def _cpu_grads(x, kernel, g):
    x, g = lax.optimization_barrier((x, g))
    x_grad = jnp.einsum("nhwd,cd->nhwc", g, kernel[0, 0].astype(g.dtype))
    rows, columns = x.reshape(-1, x.shape[-1]), g.reshape(-1, g.shape[-1])
    return x_grad, jnp.matmul(rows.T, columns, preferred_element_type=kernel.dtype).reshape(kernel.shape)


@jax.custom_vjp
def pointwise_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """[N, H, W, C] with kernel [1, 1, C, D] to [N, H, W, D], in the dtype of `x`; the kernel's gradient in its own."""
    return lax.platform_dependent(x, kernel, cpu=_cpu, default=_native)


def _forward(x, kernel):
    return pointwise_conv(x, kernel), (x, kernel)


def _backward(residuals, g):
    return lax.platform_dependent(*residuals, g, cpu=_cpu_grads, default=_native_grads)


pointwise_conv.defvjp(_forward, _backward)
