"""EfficientNet as an architecture, and the table of its variants.

Sources: width, depth, resolution, dropout and the block strings of B0 to B7 are those of the official EfficientNet
code; L0, L1 and L2 those of Table 7 (v1) / Table 8 (v4) of the Noisy Student paper. The evaluation crop is that of
noisystudent's preprocessing.py, CROP_PADDING = 32; the later tpu code takes 0.875 at every size. The 32 px
variant is the official SVHN experiment (strides of block groups 2 and 3 set to 1).

Lite0 to Lite4 are those of the official `efficientnet/lite`: its efficientnet_lite_builder.py has width, depth,
resolution, dropout, (image - 127) / 128 and batch norm's momentum and epsilon, which are those of B0 to B7; its
main.py trains and evaluates them on images resized bilinearly.
"""

import dataclasses
import math
import re
from collections.abc import Mapping

import flax.linen as nn

from ns_jax.models.base import Architecture, BuildOptions, ImageInputs, Path


@dataclasses.dataclass(frozen=True)
class BlockGroup:
    """Equal MBConv blocks in sequence, before width and depth scaling."""

    kernel: int
    repeats: int
    filters: int
    expand: int
    stride: int


EFFICIENTNET_GROUPS = (
    BlockGroup(kernel=3, repeats=1, filters=16, expand=1, stride=1),
    BlockGroup(kernel=3, repeats=2, filters=24, expand=6, stride=2),
    BlockGroup(kernel=5, repeats=2, filters=40, expand=6, stride=2),
    BlockGroup(kernel=3, repeats=3, filters=80, expand=6, stride=2),
    BlockGroup(kernel=5, repeats=3, filters=112, expand=6, stride=1),
    BlockGroup(kernel=5, repeats=4, filters=192, expand=6, stride=2),
    BlockGroup(kernel=3, repeats=1, filters=320, expand=6, stride=1),
)
SVHN_GROUPS = tuple(
    dataclasses.replace(group, stride=1) if i in (1, 2) else group for i, group in enumerate(EFFICIENTNET_GROUPS)
)
SMALL_GROUPS = (
    BlockGroup(kernel=3, repeats=1, filters=16, expand=1, stride=1),
    BlockGroup(kernel=3, repeats=2, filters=24, expand=4, stride=2),
    BlockGroup(kernel=5, repeats=2, filters=48, expand=4, stride=2),
)


@dataclasses.dataclass(frozen=True)
class EfficientNet(Architecture):
    """A variant that scales the blocks of B0 by `width` and `depth`.

    Attributes:
      dropout_rate: before the classifier.
      width, depth: factors of channels and of blocks a group.
      groups: blocks before scaling.
      stem_filters, head_filters: channels of the first and the last convolution before scaling.
      activation: after batch norm, a name of `models.ops.batch_norm.ACTIVATIONS`.
      squeeze_excite: whether blocks have it.
      scale_ends: whether stem, head and the repeats of the first and the last group are scaled; Lite's are not.
    """

    name: str
    inputs: ImageInputs
    dropout_rate: float
    width: float = 1.0
    depth: float = 1.0
    groups: tuple[BlockGroup, ...] = EFFICIENTNET_GROUPS
    stem_filters: int = 32
    head_filters: int = 1280
    activation: str = "swish"
    squeeze_excite: bool = True
    scale_ends: bool = True

    can_scan = True
    can_remat = True
    can_fold = True

    def round_filters(self, filters: int) -> int:
        """Scales a channel count by `width` and rounds to a multiple of 8, never below 90 %."""
        if self.width == 1.0:
            return filters
        scaled = filters * self.width
        rounded = max(8, int(scaled + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * scaled else rounded

    def round_repeats(self, repeats: int) -> int:
        return math.ceil(self.depth * repeats)

    @property
    def stem_width(self) -> int:
        """Channels of the first convolution."""
        return self.round_filters(self.stem_filters) if self.scale_ends else self.stem_filters

    @property
    def head_width(self) -> int:
        """Channels of the last convolution."""
        return self.round_filters(self.head_filters) if self.scale_ends else self.head_filters

    @property
    def repeats(self) -> tuple[int, ...]:
        """Number of blocks of each group."""
        scaled = [self.round_repeats(group.repeats) for group in self.groups]
        if not self.scale_ends:
            scaled[0], scaled[-1] = self.groups[0].repeats, self.groups[-1].repeats
        return tuple(scaled)

    @property
    def num_blocks(self) -> int:
        return sum(self.repeats)

    @property
    def endpoints(self) -> tuple[str, ...]:
        halvings = 1 + sum(group.stride > 1 for group in self.groups)
        return ("features", "pooled", *(f"reduction_{i}" for i in range(1, halvings + 1)))

    def build(self, num_classes: int, options: BuildOptions) -> nn.Module:
        from ns_jax.models.efficientnet.network import EfficientNetModule

        return EfficientNetModule(self, num_classes, **dataclasses.asdict(options))

    def is_head(self, path: Path) -> bool:
        return path[0] == "classifier"

    def decays(self, path: Path) -> bool:
        """All but batch norm's scale and bias (official code)."""
        return not any(key.endswith("bn") for key in path)

    def is_frozen(self, path: Path, frozen_blocks: int) -> bool:
        return frozen_blocks > 0 and is_leading(path[0], frozen_blocks)

    def is_split(self, path: Path, shape: tuple[int, ...]) -> bool:
        """Kernels only; everything else together is a hundredth of a model."""
        return path[-1] == "kernel"

    def to_module(self, variables: Mapping, options: BuildOptions) -> dict:
        from ns_jax.models.efficientnet.stacking import equal_blocks, stack_blocks

        loops = equal_blocks(self, options.frozen_blocks) if options.scan_blocks else []
        return {name: stack_blocks(tree, loops) for name, tree in variables.items()}

    def from_module(self, variables: Mapping) -> dict:
        from ns_jax.models.efficientnet.stacking import unstack_blocks

        return {name: unstack_blocks(tree) for name, tree in variables.items()}

    def fold(self, variables: Mapping) -> dict:
        from ns_jax.models.folding import fold_batch_norms
        from ns_jax.models.ops.batch_norm import BN_EPSILON

        return fold_batch_norms(variables, lambda norm: norm.removesuffix("_bn"), BN_EPSILON)

    def foreign_names(self, scheme: str) -> Mapping:
        from ns_jax.models.efficientnet.names import names

        return names(self, scheme)

    def foreign_widths(self, scheme: str) -> dict[str, int]:
        known = self.foreign_names(scheme)
        last_block = f"params/blocks_{self.num_blocks - 1}/project/kernel"  # Lite's stems and heads are all equal
        return {
            known["params/stem/kernel"].name: self.stem_width,
            known[last_block].name: self.round_filters(self.groups[-1].filters),
            known["params/head/kernel"].name: self.head_width,
        }


def is_leading(layer: str, blocks: int) -> bool:
    """Whether a layer, 'stem', 'stem_bn', 'blocks_3', 'blocks_3_to_5', ..., is the stem's or of the first `blocks`."""
    block = re.match(r"blocks_(\d+)", layer)
    return layer.startswith("stem") or block is not None and int(block[1]) < blocks


def _imagenet(name: str, resolution: int, test_resolution: int, dropout_rate: float, width: float, depth: float):
    return EfficientNet(name, ImageInputs(resolution, test_resolution), dropout_rate, width, depth)


def _lite(name: str, resolution: int, dropout_rate: float, width: float, depth: float):
    mean, std = (127 / 255,) * 3, (128 / 255,) * 3
    inputs = ImageInputs(resolution, resolution, interpolation="bilinear", mean=mean, std=std)
    return EfficientNet(
        name, inputs, dropout_rate, width, depth, activation="relu6", squeeze_excite=False, scale_ends=False
    )


_SVHN = ImageInputs(32, 32, crop_padding=0, mean=(0.4377, 0.4438, 0.4728), std=(0.1980, 0.2010, 0.1970))
_SMALL = ImageInputs(28, 28, crop_padding=0, mean=(0.13, 0.13, 0.13), std=(0.31, 0.31, 0.31))
_VARIANTS = (
    #          name               train test dropout width depth
    _imagenet("efficientnet-b0", 224, 224, 0.2, 1.0, 1.0),
    _imagenet("efficientnet-b1", 240, 240, 0.2, 1.0, 1.1),
    _imagenet("efficientnet-b2", 260, 260, 0.3, 1.1, 1.2),
    _imagenet("efficientnet-b3", 300, 300, 0.3, 1.2, 1.4),
    _imagenet("efficientnet-b4", 380, 380, 0.4, 1.4, 1.8),
    _imagenet("efficientnet-b5", 456, 456, 0.4, 1.6, 2.2),
    _imagenet("efficientnet-b6", 528, 528, 0.5, 1.8, 2.6),
    _imagenet("efficientnet-b7", 600, 600, 0.5, 2.0, 3.1),
    _imagenet("efficientnet-l0", 380, 600, 0.5, 2.8, 3.7),
    _imagenet("efficientnet-l1", 380, 600, 0.5, 3.9, 3.7),
    _imagenet("efficientnet-l2", 475, 800, 0.5, 4.3, 5.3),
    #     name                train and test dropout width depth
    _lite("efficientnet-lite0", 224, 0.2, 1.0, 1.0),
    _lite("efficientnet-lite1", 240, 0.2, 1.0, 1.1),
    _lite("efficientnet-lite2", 260, 0.3, 1.1, 1.2),
    _lite("efficientnet-lite3", 280, 0.3, 1.2, 1.4),
    _lite("efficientnet-lite4", 300, 0.3, 1.4, 1.8),
    EfficientNet("efficientnet-b0-svhn", _SVHN, 0.2, groups=SVHN_GROUPS),
    EfficientNet("efficientnet-small", _SMALL, 0.2, groups=SMALL_GROUPS, stem_filters=16, head_filters=256),
    EfficientNet("efficientnet-small-1.5", _SMALL, 0.2, 1.5, 1.5, SMALL_GROUPS, stem_filters=16, head_filters=256),
)
VARIANTS = {variant.name: variant for variant in _VARIANTS}
