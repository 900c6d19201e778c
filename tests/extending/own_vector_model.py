"""A model of one's own on vectors instead of images: two dense layers."""

import flax.linen as nn
import jax.numpy as jnp

from ns_jax.models.base import Architecture, ArrayInputs, BuildOptions
from ns_jax.models.layers import Dropout


class TwoLayers(nn.Module):
    """Vectors [N, D] to logits float32 [N, num_classes]."""

    num_classes: int
    dropout_rate: float

    @nn.compact
    def __call__(self, vectors, train: bool = False, example_ids=None):
        x = nn.relu(nn.Dense(32, name="hidden")(vectors.astype(jnp.float32)))
        x = Dropout(self.dropout_rate, name="dropout")(x, example_ids)
        return nn.Dense(self.num_classes, name="head")(x)


class TwoLayersArchitecture(Architecture):
    """Named in a config as variant = 'tests.extending.own_vector_model:TwoLayersArchitecture'."""

    inputs = ArrayInputs(shape=(2,))

    def build(self, num_classes: int, options: BuildOptions) -> nn.Module:
        return TwoLayers(num_classes, options.dropout_rate or 0.0)

    def is_head(self, path: tuple[str, ...]) -> bool:
        return path[0] == "head"
