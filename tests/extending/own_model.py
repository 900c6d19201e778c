"""A model of one's own: a small convolutional network without batch norm."""

import flax.linen as nn
import jax.numpy as jnp

from ns_jax.models.base import Architecture, BuildOptions, ImageInputs
from ns_jax.models.layers import Dropout


class TinyConvNet(nn.Module):
    """Images [N, H, W, 3], normalised, to logits float32 [N, num_classes]."""

    num_classes: int
    dropout_rate: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, images, train: bool = False, example_ids=None):
        x = nn.relu(nn.Conv(8, (3, 3), strides=2, dtype=self.dtype, name="first")(images))
        x = nn.relu(nn.Conv(16, (3, 3), strides=2, dtype=self.dtype, name="second")(x))
        x = x.astype(jnp.float32).mean((1, 2))
        x = Dropout(self.dropout_rate, name="dropout")(x, example_ids)
        return nn.Dense(self.num_classes, name="head")(x)


class TinyConvNetArchitecture(Architecture):
    """Named in a config as variant = 'tests.extending.own_model:TinyConvNetArchitecture'."""

    inputs = ImageInputs(resolution=28, test_resolution=28, crop_padding=0, mean=(0.13,) * 3, std=(0.31,) * 3)

    def build(self, num_classes: int, options: BuildOptions) -> nn.Module:
        rate = 0.1 if options.dropout_rate is None else options.dropout_rate
        return TinyConvNet(num_classes, rate, options.dtype)

    def is_head(self, path: tuple[str, ...]) -> bool:
        return path[0] == "head"

    def decays(self, path: tuple[str, ...]) -> bool:
        return path[-1] == "kernel"
