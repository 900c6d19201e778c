"""Layers of the convolutional models: convolution, squeeze-excite, noise."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ns_jax.models.ops.depthwise import depthwise_conv
from ns_jax.models.ops.native_conv import native_conv
from ns_jax.models.ops.pointwise import pointwise_conv


def conv_kernel_init(key, shape, dtype=jnp.float32):
    """Normal with variance 2 / (k * k * out); `out` of a depthwise kernel is 1 (official code)."""
    k_h, k_w, fan_in, out = shape
    out = 1 if fan_in == 1 else out
    return jax.random.normal(key, shape, dtype) * jnp.sqrt(2.0 / (k_h * k_w * out)).astype(dtype)


def head_kernel_init(head_init: str) -> Callable:
    """The initialiser of a classifier's kernel [features, classes], uniform in a bound.

    Args:
      head_init: 'classes' for +-1/sqrt(classes), as in the official code, which with two classes and trained features
        starts far from equal probabilities; 'inputs' for +-1/sqrt(features).
    """
    axis = {"classes": -1, "inputs": -2}[head_init]

    def init(key, shape, dtype=jnp.float32):
        bound = shape[axis] ** -0.5
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


class Conv(nn.Module):
    """[N, H, W, C] -> [N, H', W', filters], bias only where `use_bias`.

    `padding` is that of `lax.conv_general_dilated`, 'SAME' being TensorFlow's.
    """

    filters: int
    kernel: int = 1
    stride: int = 1
    use_bias: bool = False
    padding: Any = "SAME"
    kernel_init: Callable = conv_kernel_init
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        shape = (self.kernel, self.kernel, x.shape[-1], self.filters)
        kernel = self.param("kernel", self.kernel_init, shape)
        x = x.astype(self.dtype)
        if self.kernel == self.stride == 1:
            x = pointwise_conv(x, kernel)
        else:
            x = native_conv(x, kernel, self.stride, self.padding)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros_init(), (self.filters,))
            x = (x.astype(bias.dtype) + bias.reshape(1, 1, 1, -1)).astype(
                self.dtype
            )  # float32, and so is the bias' gradient
        return x


class DepthwiseConv(nn.Module):
    """[N, H, W, C] -> [N, ceil(H/stride), ceil(W/stride), C], SAME padding, no bias."""

    kernel: int
    stride: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        shape = (self.kernel, self.kernel, 1, x.shape[-1])
        kernel = self.param("kernel", conv_kernel_init, shape)
        return depthwise_conv(x.astype(self.dtype), kernel, self.stride)


class SqueezeExcite(nn.Module):
    """Channel gate from the global average; `reduced` is counted on the block's input filters."""

    reduced: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        channels = x.shape[-1]
        gate = x.astype(jnp.float32).mean((1, 2), keepdims=True).astype(self.dtype)
        gate = Conv(self.reduced, use_bias=True, dtype=self.dtype, name="reduce")(gate)
        gate = Conv(channels, use_bias=True, dtype=self.dtype, name="expand")(nn.swish(gate))
        return x * nn.sigmoid(gate)


def per_example_uniform(module: nn.Module, example_ids: jax.Array, shape: tuple) -> jax.Array:
    """Uniform [0, 1) numbers of shape [N, *shape], keyed by example and not by place in the batch.

    Noise therefore does not depend on how a batch is laid out over devices.
    `example_ids`: [N] integers, unique in the batch.
    """
    key = module.make_rng("noise")
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(example_ids)
    return jax.vmap(lambda k: jax.random.uniform(k, shape))(keys)


def _keep_mask(module: nn.Module, example_ids: jax.Array, rate, shape: tuple):
    """Returns (keep, has_noise): bool [N, *shape] and [N, 1, ...]. Examples without noise (id -1) are kept whole."""
    has_noise = (example_ids >= 0).reshape(-1, *(1,) * len(shape))
    return ~has_noise | (per_example_uniform(module, example_ids, shape) >= rate), has_noise


class StochasticDepth(nn.Module):
    """Drops the residual branch of single examples; survivors are scaled by 1 / survival.

    `example_ids`: int [N], -1 for examples without noise; None for no noise at all. `rate` may be traced.
    """

    @nn.compact
    def __call__(self, x, example_ids, rate):
        if example_ids is None or (isinstance(rate, float) and rate == 0.0):
            return x
        keep, has_noise = _keep_mask(self, example_ids, rate, (1, 1, 1))
        scale = jnp.where(has_noise, 1.0 / (1.0 - rate), 1.0)
        return x * keep.astype(x.dtype) * scale.astype(x.dtype)


class Dropout(nn.Module):
    """Dropout of the pooled features [N, C]; `example_ids` as for StochasticDepth."""

    rate: float

    @nn.compact
    def __call__(self, x, example_ids):
        if example_ids is None or self.rate == 0.0:
            return x
        keep, has_noise = _keep_mask(self, example_ids, self.rate, x.shape[1:])
        survival = jnp.where(has_noise, 1.0 - self.rate, 1.0)
        return jnp.where(keep, x / survival.astype(x.dtype), 0)
