"""EfficientNet (Tan and Le, 2019) as the official Noisy Student code builds it, and its Lite form."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from ns_jax.models.efficientnet.stacking import equal_blocks, loop_name
from ns_jax.models.efficientnet.variants import BlockGroup, EfficientNet
from ns_jax.models.layers import Conv, DepthwiseConv, Dropout, SqueezeExcite, StochasticDepth, head_kernel_init
from ns_jax.models.ops.batch_norm import BN_MOMENTUM, BatchNorm


class MBConv(nn.Module):
    """Inverted bottleneck: expand, depthwise, squeeze-excite, project, and a skip where it fits."""

    group: BlockGroup
    filters: int
    stride: int
    bn_groups: int
    dtype: Any
    activation: str
    squeeze_excite: bool
    bn_momentum: float
    fold_batch_norm: bool

    @nn.compact
    def __call__(self, x, train: bool, example_ids, drop_rate):
        inputs = x
        norm = {
            "groups": self.bn_groups,
            "dtype": self.dtype,
            "momentum": self.bn_momentum,
            "folded": self.fold_batch_norm,
        }
        if self.group.expand != 1:
            x = Conv(x.shape[-1] * self.group.expand, dtype=self.dtype, name="expand")(x)
            x = BatchNorm(name="expand_bn", activation=self.activation, **norm)(x, train)
        x = DepthwiseConv(self.group.kernel, self.stride, self.dtype, name="depthwise")(x)
        x = BatchNorm(name="depthwise_bn", activation=self.activation, **norm)(x, train)
        if self.squeeze_excite:
            x = SqueezeExcite(max(1, inputs.shape[-1] // 4), self.dtype, name="se")(x)
        x = Conv(self.filters, dtype=self.dtype, name="project")(x)
        x = BatchNorm(name="project_bn", **norm)(x, train)
        if self.stride == 1 and inputs.shape[-1] == self.filters:
            x = StochasticDepth(name="noise")(x, example_ids, drop_rate) + inputs
        return x


class EfficientNetModule(nn.Module):
    """Images [N, H, W, 3], normalised, to logits [N, num_classes] in float32.

    With `features_only`, to a dict instead: reduction_1 to reduction_5, the activations [N, H / 2**i,
    W / 2**i, C] before each halving of the resolution (as many as the variant halves it); features, those
    before the pooling; and pooled, float32 [N, C].

    Attributes:
      variant: which of the table.
      num_classes: size of the classifier.
      dropout_rate: on the pooled features; the variant's own rate where None.
      stochastic_depth_rate: drop rate that the linear rule approaches at the last block.
      bn_groups: in how many parts the batch is normalised while training.
      scan_blocks: runs equal blocks as a loop over stacked variables (see stacking.py); noise is then drawn
        differently.
      remat: keeps only each block's input for the backward pass and computes the rest again.
      frozen_blocks: number of leading blocks (plus the stem) that are frozen: eval-mode batch norm, no gradient.
      dtype: of the computation; parameters and statistics are float32.
      bn_momentum: of batch norm; the official 0.99 where None.
      head_init: of the classifier's kernel, see `head_kernel_init`.
      fold_batch_norm: for predictions with variables of `EfficientNet.fold`.
    """

    variant: EfficientNet
    num_classes: int
    dropout_rate: float | None = None
    stochastic_depth_rate: float = 0.2
    bn_groups: int = 1
    frozen_blocks: int = 0
    scan_blocks: bool = False
    remat: bool = False
    dtype: Any = jnp.float32
    bn_momentum: float | None = None
    head_init: str = "classes"
    fold_batch_norm: bool = False

    @property
    def _bn_momentum(self) -> float:
        return BN_MOMENTUM if self.bn_momentum is None else self.bn_momentum

    @nn.compact
    def __call__(self, images, train: bool = False, example_ids=None, features_only: bool = False):
        variant = self.variant
        norm = {
            "groups": self.bn_groups,
            "dtype": self.dtype,
            "momentum": self._bn_momentum,
            "folded": self.fold_batch_norm,
        }
        x = Conv(variant.stem_width, 3, 2, dtype=self.dtype, name="stem")(images)
        x = BatchNorm(name="stem_bn", activation=variant.activation, **norm)(x, train and not self.frozen_blocks)
        loops = equal_blocks(variant, self.frozen_blocks) if self.scan_blocks else []
        loop_at = {blocks[0]: blocks for blocks in loops}
        index, reductions = 0, []
        for group, repeats in zip(variant.groups, variant.repeats, strict=True):
            if group.stride > 1:
                reductions.append(x)
            end, stride = index + repeats, group.stride
            while index < end:
                blocks = loop_at.get(index, range(index, index + 1))
                mode = (train, example_ids) if index >= self.frozen_blocks else (False, None)
                x = self._run(x, blocks, group, stride, *mode)
                index, stride = blocks[-1] + 1, 1
                if index == self.frozen_blocks:
                    x = lax.stop_gradient(x)
        reductions.append(x)
        x = Conv(variant.head_width, dtype=self.dtype, name="head")(x)
        x = BatchNorm(name="head_bn", activation=variant.activation, **norm)(x, train)
        pooled = x.astype(jnp.float32).mean((1, 2))
        if features_only:
            maps = {f"reduction_{i}": activation for i, activation in enumerate(reductions, 1)}
            return maps | {"features": x, "pooled": pooled}
        rate = variant.dropout_rate if self.dropout_rate is None else self.dropout_rate
        x = Dropout(rate, name="dropout")(pooled, example_ids)
        return nn.Dense(self.num_classes, kernel_init=head_kernel_init(self.head_init), name="classifier")(x)

    def _run(self, x, blocks: range, group: BlockGroup, stride: int, train: bool, example_ids):
        """One block, or several equal ones as a loop."""
        variant = self.variant
        drop_rates = [self.stochastic_depth_rate * i / variant.num_blocks for i in blocks]
        name = f"blocks_{blocks[0]}" if len(blocks) == 1 else loop_name(blocks)
        block = MBConv(
            group,
            variant.round_filters(group.filters),
            stride,
            self.bn_groups,
            self.dtype,
            variant.activation,
            variant.squeeze_excite,
            self._bn_momentum,
            self.fold_batch_norm,
            name=name,
        )

        def call(block, x, drop_rate):
            return block(x, train, example_ids, drop_rate)

        if self.remat and train:
            # Without common-subexpression elimination inside a loop there is nothing to prevent.
            call = nn.remat(call, prevent_cse=len(blocks) == 1, static_argnums=(2,) if len(blocks) == 1 else ())
        if len(blocks) == 1:
            return call(block, x, drop_rates[0])
        loop = nn.scan(
            lambda block, x, drop_rate: (call(block, x, drop_rate), None),
            length=len(blocks),
            variable_axes={"params": 0, "batch_stats": 0},
            split_rngs={"params": True, "noise": True},
        )
        return loop(block, x, jnp.array(drop_rates, jnp.float32))[0]
