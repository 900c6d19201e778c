"""ResNet-50 (He et al., 2016) in the form of TensorFlow's official TPU model.

It strides in the 3 x 3 convolution of a block, pads strided convolutions alike on both sides, and
pools with TensorFlow's SAME padding. Momentum, epsilon and initialisation are that model's too,
as recalled: the paper's Table 16 does not say.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from ns_jax.models.base import Architecture, BuildOptions, ImageInputs, Path
from ns_jax.models.folding import fold_batch_norms
from ns_jax.models.layers import Conv, Dropout, StochasticDepth
from ns_jax.models.ops.batch_norm import BatchNorm

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
    bn_momentum: float = BN_MOMENTUM
    fold_batch_norm: bool = False
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
            self.bn_groups,
            momentum=self.bn_momentum,
            epsilon=BN_EPSILON,
            scale_init=init,
            dtype=self.dtype,
            folded=self.fold_batch_norm,
            name="bn",
        )(x, train)


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3, 1 x 1, and a skip, projected where shapes differ."""

    filters: int
    stride: int
    drop_rate: float
    bn_groups: int
    dtype: Any
    bn_momentum: float
    fold_batch_norm: bool

    @nn.compact
    def __call__(self, x, train: bool, example_ids):
        common = {
            "bn_groups": self.bn_groups,
            "dtype": self.dtype,
            "bn_momentum": self.bn_momentum,
            "fold_batch_norm": self.fold_batch_norm,
        }
        skip, out = x, self.filters * EXPANSION
        if self.stride > 1 or x.shape[-1] != out:
            skip = ConvBatchNorm(out, 1, self.stride, name="skip", **common)(x, train)
        x = nn.relu(ConvBatchNorm(self.filters, 1, 1, name="reduce", **common)(x, train))
        x = nn.relu(ConvBatchNorm(self.filters, 3, self.stride, name="spatial", **common)(x, train))
        x = ConvBatchNorm(out, 1, 1, name="expand", last=True, **common)(x, train)
        return nn.relu(StochasticDepth(name="noise")(x, example_ids, self.drop_rate) + skip)


class ResNetModule(nn.Module):
    """Images [N, H, W, 3], normalised, to logits [N, num_classes] in float32.

    Attributes and `features_only` are those of `EfficientNetModule`; the official batch norm keeps 0.9.
    """

    variant: "ResNet"
    num_classes: int
    dropout_rate: float | None = None
    stochastic_depth_rate: float = 0.0
    bn_groups: int = 1
    frozen_blocks: int = 0
    dtype: Any = jnp.float32
    bn_momentum: float | None = None
    fold_batch_norm: bool = False

    @nn.compact
    def __call__(self, images, train: bool = False, example_ids=None, features_only: bool = False):
        momentum = BN_MOMENTUM if self.bn_momentum is None else self.bn_momentum
        common = (self.bn_groups, self.dtype, momentum, self.fold_batch_norm)
        stem = ConvBatchNorm(64, 7, 2, *common, name="stem")
        x = nn.relu(stem(images, train and not self.frozen_blocks))
        reductions = [x]
        x = nn.max_pool(x, (3, 3), (2, 2), "SAME")
        index = 0
        for group, repeats in enumerate(self.variant.repeats):
            if group > 0:
                reductions.append(x)
            for repeat in range(repeats):
                stride = 2 if group > 0 and repeat == 0 else 1
                drop_rate = self.stochastic_depth_rate * index / self.variant.num_blocks
                name = f"blocks_{index}"
                block = Bottleneck(64 * 2**group, stride, drop_rate, *common, name=name)
                mode = (train, example_ids) if index >= self.frozen_blocks else (False, None)
                x = block(x, *mode)
                index += 1
                if index == self.frozen_blocks:
                    x = lax.stop_gradient(x)
        reductions.append(x)
        pooled = x.astype(jnp.float32).mean((1, 2))
        if features_only:
            maps = {f"reduction_{i}": activation for i, activation in enumerate(reductions, 1)}
            return maps | {"features": x, "pooled": pooled}
        rate = self.variant.dropout_rate if self.dropout_rate is None else self.dropout_rate
        x = Dropout(rate, name="dropout")(pooled, example_ids)
        return nn.Dense(self.num_classes, kernel_init=nn.initializers.normal(0.01), name="classifier")(x)


@dataclasses.dataclass(frozen=True)
class ResNet(Architecture):
    """Bottleneck blocks: `repeats` says how many in each of the four groups."""

    name: str
    inputs: ImageInputs
    repeats: tuple[int, ...]
    dropout_rate: float = 0.0

    can_fold = True
    endpoints = ("features", "pooled", *(f"reduction_{i}" for i in range(1, 6)))

    @property
    def num_blocks(self) -> int:
        return sum(self.repeats)

    def build(self, num_classes: int, options: BuildOptions) -> nn.Module:
        known = dataclasses.asdict(options)
        for without in ("scan_blocks", "remat", "head_init"):
            del known[without]
        return ResNetModule(self, num_classes, **known)

    def fold(self, variables: Mapping) -> dict:
        return fold_batch_norms(variables, lambda norm: "conv", BN_EPSILON)

    def is_head(self, path: Path) -> bool:
        return path[0] == "classifier"

    def decays(self, path: Path) -> bool:
        """All but batch norm's scale and bias."""
        return "bn" not in path

    def is_frozen(self, path: Path, frozen_blocks: int) -> bool:
        leading = path[0] == "stem" or path[0] in {f"blocks_{i}" for i in range(frozen_blocks)}
        return frozen_blocks > 0 and leading

    def is_split(self, path: Path, shape: tuple[int, ...]) -> bool:
        return path[-1] == "kernel"


VARIANTS = {"resnet-50": ResNet("resnet-50", ImageInputs(224, 224), repeats=(3, 4, 6, 3))}
