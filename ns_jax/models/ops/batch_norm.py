"""Batch norm over groups of the batch, with the activation that follows it."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

BN_MOMENTUM = 0.99
BN_EPSILON = 1e-3
AXES = (1, 2, 3)  # of the statistics of [groups, N, H, W, C]


def _per_group(values):
    """[groups, C] to the rank of the images."""
    return values[:, None, None, None, :]


def _swish_gradient(g, z):
    gate = nn.sigmoid(z)
    return g * (gate * (1.0 + z * (1.0 - gate)))


def _relu6_gradient(g, z):
    return jnp.where((z > 0.0) & (z < 6.0), g, 0.0)


ACTIVATIONS = {  # name -> (function of z, gradient of z from that of the function's value and z)
    "": (lambda z: z, lambda g, z: g),
    "swish": (nn.swish, _swish_gradient),
    "relu6": (nn.relu6, _relu6_gradient),
}


def _affine(x, factor, shift, activation: str):
    z = x.astype(jnp.float32) * _per_group(factor) + _per_group(shift)
    return ACTIVATIONS[activation][0](z).astype(x.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def normalize(x, scale, bias, epsilon: float, activation: str):
    """Normalises by the statistics of each group. Its gradient is the closed form.

    Args:
      x: [groups, N, H, W, C], float32 or bfloat16.
      scale: float32 [C], as is `bias`.
      epsilon: added to the variance.
      activation: name of what follows, a key of ACTIVATIONS.

    Returns:
      (y of the shape and dtype of `x`; mean and biased variance, float32 [groups, C], which pass on
      no gradient).
    """
    return _forward(x, scale, bias, epsilon, activation)[0]


def _forward(x, scale, bias, epsilon, activation):
    x32 = x.astype(jnp.float32)
    mean = x32.mean(AXES)
    var = jnp.maximum((x32 * x32).mean(AXES) - mean * mean, 0.0)
    inverse = lax.rsqrt(var + epsilon)
    factor = scale[None] * inverse
    shift = bias[None] - mean * factor
    return (_affine(x, factor, shift, activation), mean, var), (x, mean, inverse, factor, shift)


def _backward(epsilon, activation, residuals, gradients):
    del epsilon
    x, mean, inverse, factor, shift = residuals
    g, x32 = gradients[0].astype(jnp.float32), x.astype(jnp.float32)
    g = ACTIVATIONS[activation][1](g, x32 * _per_group(factor) + _per_group(shift))
    count = float(x[0, ..., 0].size)  # more than an int32 holds, in L2's first blocks on a pod
    bias_grad = g.sum(AXES)
    scale_grad = (g * (x32 - _per_group(mean))).sum(AXES) * inverse
    # d x = factor * (g - mean(g) - normalised x * mean(g * normalised x))
    slope = factor * inverse * scale_grad / count
    offset = factor * bias_grad / count - slope * mean
    x_grad = g * _per_group(factor) - x32 * _per_group(slope) - _per_group(offset)
    return x_grad.astype(x.dtype), scale_grad.sum(0), bias_grad.sum(0)


normalize.defvjp(_forward, _backward)


class BatchNorm(nn.Module):
    """Batch norm over [N, H, W, C], statistics in float32 and over `groups` equal parts of N.

    With the batch split over devices in order, a group of consecutive examples is a group of
    consecutive devices, so statistics need no more communication than the group has devices.
    The running mean and (biased) variance move towards the average over the groups. `activation`, a key of
    ACTIVATIONS, is applied to the result. `folded`: factor and mean are in the convolution before it, and the
    parameter `bias`, its only variable, is all that is left to add.
    """

    groups: int = 1
    activation: str = ""
    momentum: float = BN_MOMENTUM
    epsilon: float = BN_EPSILON
    scale_init: Callable = nn.initializers.ones_init()
    dtype: Any = jnp.float32
    folded: bool = False

    @nn.compact
    def __call__(self, x, train: bool):
        channels = x.shape[-1]
        if self.folded:
            bias = self.param("bias", nn.initializers.zeros_init(), (channels,))
            z = x.astype(jnp.float32) + bias.reshape(*(1,) * (x.ndim - 1), channels)
            return ACTIVATIONS[self.activation][0](z).astype(self.dtype)
        scale = self.param("scale", self.scale_init, (channels,))
        bias = self.param("bias", nn.initializers.zeros_init(), (channels,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,), jnp.float32)
        x = x.astype(self.dtype)
        if not train:
            factor = scale * lax.rsqrt(running_var.value + self.epsilon)
            shift = bias - running_mean.value * factor
            return _affine(x[None], factor[None], shift[None], self.activation)[0]
        grouped = x.reshape(self.groups, x.shape[0] // self.groups, *x.shape[1:])
        y, mean, var = normalize(grouped, scale, bias, self.epsilon, self.activation)
        if not self.is_initializing():
            move = 1.0 - self.momentum
            running_mean.value += move * (lax.stop_gradient(mean).mean(0) - running_mean.value)
            running_var.value += move * (lax.stop_gradient(var).mean(0) - running_var.value)
        return y.reshape(x.shape)
