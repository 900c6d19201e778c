"""ResNet-50 (He et al., 2016) in the form of TensorFlow's official TPU model.

It strides in the 3 x 3 convolution of a block, pads strided convolutions alike on both sides, and
pools with TensorFlow's SAME padding. Momentum, epsilon and initialisation are that model's too,
as recalled: the paper's Table 16 does not say.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from ns_jax.models.layers import Conv, Dropout, StochasticDepth
from ns_jax.models.ops.batch_norm import BatchNorm
from ns_jax.models.variants import ResNetVariant

BN_MOMENTUM = 0.9
BN_EPSILON = 1e-5
EXPANSION = 4  # of the output over the inner filters
conv_init = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")


class ConvBatchNorm(nn.Module):
    """Convolution with symmetric padding where strided, and batch norm; `last` of a block starts at 0."""

    filters: int
    kernel: int
    stride: int
    bn_groups: int
    dtype: Any
    last: bool = False

    @nn.compact
    def __call__(self, x, train: bool):
        side = self.kernel // 2
        padding = ((side, side), (side, side)) if self.stride > 1 else "SAME"
        x = Conv(
            self.filters,
            self.kernel,
            self.stride,
            padding=padding,
            kernel_init=conv_init,
            dtype=self.dtype,
            name="conv",
        )(x)
        init = nn.initializers.zeros_init() if self.last else nn.initializers.ones_init()
        return BatchNorm(
            self.bn_groups, momentum=BN_MOMENTUM, epsilon=BN_EPSILON, scale_init=init, dtype=self.dtype, name="bn"
        )(x, train)


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3, 1 x 1, and a skip, projected where shapes differ."""

    filters: int
    stride: int
    drop_rate: float
    bn_groups: int
    dtype: Any

    @nn.compact
    def __call__(self, x, train: bool, example_ids):
        common = {"bn_groups": self.bn_groups, "dtype": self.dtype}
        skip, out = x, self.filters * EXPANSION
        if self.stride > 1 or x.shape[-1] != out:
            skip = ConvBatchNorm(out, 1, self.stride, name="skip", **common)(x, train)
        x = nn.relu(ConvBatchNorm(self.filters, 1, 1, name="reduce", **common)(x, train))
        x = nn.relu(ConvBatchNorm(self.filters, 3, self.stride, name="spatial", **common)(x, train))
        x = ConvBatchNorm(out, 1, 1, name="expand", last=True, **common)(x, train)
        return nn.relu(StochasticDepth(name="noise")(x, example_ids, self.drop_rate) + skip)


class ResNet(nn.Module):
    """Images [N, H, W, 3], normalised, to logits [N, num_classes] in float32.

    Attributes and `features_only` are those of EfficientNet.
    """

    variant: ResNetVariant
    num_classes: int
    dropout_rate: float | None = None
    stochastic_depth_rate: float = 0.0
    bn_groups: int = 1
    frozen_blocks: int = 0
    dtype: Any = jnp.float32

    classifier_init = staticmethod(nn.initializers.normal(0.01))

    @nn.compact
    def __call__(self, images, train: bool = False, example_ids=None, features_only: bool = False):
        row = self.variant
        x = nn.relu(
            ConvBatchNorm(64, 7, 2, self.bn_groups, self.dtype, name="stem")(images, train and not self.frozen_blocks)
        )
        reductions = [x]
        x = nn.max_pool(x, (3, 3), (2, 2), "SAME")
        index = 0
        for stage, repeats in enumerate(row.repeats):
            if stage > 0:
                reductions.append(x)
            for repeat in range(repeats):
                x = Bottleneck(
                    64 * 2**stage,
                    2 if stage > 0 and repeat == 0 else 1,
                    self.stochastic_depth_rate * index / row.num_blocks,
                    self.bn_groups,
                    self.dtype,
                    name=f"blocks_{index}",
                )(x, *((train, example_ids) if index >= self.frozen_blocks else (False, None)))
                index += 1
                if index == self.frozen_blocks:
                    x = lax.stop_gradient(x)
        reductions.append(x)
        pooled = x.astype(jnp.float32).mean((1, 2))
        if features_only:
            return {f"reduction_{i}": r for i, r in enumerate(reductions, 1)} | {"features": x, "pooled": pooled}
        rate = row.dropout_rate if self.dropout_rate is None else self.dropout_rate
        x = Dropout(rate, name="dropout")(pooled, example_ids)
        return nn.Dense(self.num_classes, kernel_init=self.classifier_init, name="classifier")(x)
