"""An EfficientNet of two narrow blocks, for whole runs and training steps: it is compiled and computed in no time."""

import dataclasses

from ns_jax.models.efficientnet.variants import BlockGroup, EfficientNet
from ns_jax.models.registry import get_architecture

TINY = "tests.tiny_model:tiny_efficientnet"


def tiny_efficientnet() -> EfficientNet:
    """The demo's model with one group of blocks, of which the second has a shortcut, and so stochastic depth."""
    group = BlockGroup(kernel=3, repeats=2, filters=8, expand=4, stride=2)
    small = get_architecture("efficientnet-small")
    return dataclasses.replace(small, groups=(group,), stem_filters=8, head_filters=32)
