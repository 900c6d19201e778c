"""From a row of the table to its model."""

import flax.linen as nn

from ns_jax.models.efficientnet.network import EfficientNet
from ns_jax.models.resnet import ResNet
from ns_jax.models.variants import ResNetVariant, Variant


def create_model(variant: Variant, num_classes: int, **options) -> nn.Module:
    """The linen module of a row. `options`: dropout_rate, stochastic_depth_rate, bn_groups, frozen_blocks,
    dtype; of an EfficientNet also scan_blocks, remat."""
    family = ResNet if isinstance(variant, ResNetVariant) else EfficientNet
    return family(variant, num_classes, **options)
