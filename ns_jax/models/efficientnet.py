"""EfficientNet (Tan and Le, 2019) as the official Noisy Student code builds it."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from ns_jax.models.batch_norm import BatchNorm
from ns_jax.models.layers import Conv, DepthwiseConv, Dropout, SqueezeExcite, StochasticDepth, dense_kernel_init
from ns_jax.models.variants import EfficientNetVariant, Stage


class MBConv(nn.Module):
    """Inverted bottleneck: expand, depthwise, squeeze-excite, project, and a skip where it fits."""

    stage: Stage
    filters: int
    stride: int
    drop_rate: float
    bn_groups: int
    dtype: Any

    @nn.compact
    def __call__(self, x, train: bool, example_ids):
        inputs = x
        norm = {"groups": self.bn_groups, "dtype": self.dtype}
        if self.stage.expand != 1:
            x = Conv(x.shape[-1] * self.stage.expand, dtype=self.dtype, name="expand")(x)
            x = BatchNorm(name="expand_bn", swish=True, **norm)(x, train)
        x = DepthwiseConv(self.stage.kernel, self.stride, self.dtype, name="depthwise")(x)
        x = BatchNorm(name="depthwise_bn", swish=True, **norm)(x, train)
        x = SqueezeExcite(max(1, inputs.shape[-1] // 4), self.dtype, name="se")(x)
        x = Conv(self.filters, dtype=self.dtype, name="project")(x)
        x = BatchNorm(name="project_bn", **norm)(x, train)
        if self.stride == 1 and inputs.shape[-1] == self.filters:
            x = StochasticDepth(self.drop_rate, name="noise")(x, example_ids) + inputs
        return x


class EfficientNet(nn.Module):
    """Images [N, H, W, 3], normalised, to logits [N, num_classes] in float32.

    With `features_only`, to a dict instead: reduction_1 to reduction_5, the activations [N, H / 2**i,
    W / 2**i, C] before each halving of the resolution (as many as the row halves it); features, those
    before the pooling; and pooled, float32 [N, C].

    Attributes:
      variant: the row of the zoo.
      num_classes: size of the classifier.
      dropout_rate: on the pooled features; the row's own rate where None.
      stochastic_depth_rate: drop rate that the linear rule approaches at the last block.
      bn_groups: in how many parts the batch is normalised while training.
      frozen_blocks: the stem and so many blocks are as in inference and pass on no gradient; 0: nothing is.
      dtype: of the computation; parameters and statistics are float32.
    """

    variant: EfficientNetVariant
    num_classes: int
    dropout_rate: float | None = None
    stochastic_depth_rate: float = 0.2
    bn_groups: int = 1
    frozen_blocks: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images, train: bool = False, example_ids=None, features_only: bool = False):
        row = self.variant
        norm = {"groups": self.bn_groups, "dtype": self.dtype}
        x = Conv(row.round_filters(row.stem_filters), 3, 2, dtype=self.dtype, name="stem")(images)
        x = BatchNorm(name="stem_bn", swish=True, **norm)(x, train and not self.frozen_blocks)
        index, reductions = 0, []
        for stage in row.stages:
            if stage.stride > 1:
                reductions.append(x)
            for repeat in range(row.round_repeats(stage.repeats)):
                x = MBConv(
                    stage, row.round_filters(stage.filters), stage.stride if repeat == 0 else 1,
                    self.stochastic_depth_rate * index / row.num_blocks, self.bn_groups, self.dtype,
                    name=f"blocks_{index}")(
                        x, *((train, example_ids) if index >= self.frozen_blocks else (False, None)))  # fmt: skip
                index += 1
                if index == self.frozen_blocks:
                    x = lax.stop_gradient(x)
        reductions.append(x)
        x = Conv(row.round_filters(row.head_filters), dtype=self.dtype, name="head")(x)
        x = BatchNorm(name="head_bn", swish=True, **norm)(x, train)
        pooled = x.astype(jnp.float32).mean((1, 2))
        if features_only:
            return {f"reduction_{i}": r for i, r in enumerate(reductions, 1)} | {"features": x, "pooled": pooled}
        rate = row.dropout_rate if self.dropout_rate is None else self.dropout_rate
        x = Dropout(rate, name="dropout")(pooled, example_ids)
        return nn.Dense(self.num_classes, kernel_init=dense_kernel_init, name="classifier")(x)
