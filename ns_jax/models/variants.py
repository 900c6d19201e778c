"""The model zoo as a table: one row a variant.

Sources: width, depth, resolution, dropout and the block strings of B0 to B7 are those of the
official EfficientNet code; L0, L1 and L2 those of Table 7 (v1) / Table 8 (v4) of the Noisy
Student paper. `crop_padding` is the official evaluation crop: the centre square of
`size / (size + crop_padding) * min(height, width)` pixels. The 32-px row is the official SVHN
experiment (strides of stages 2 and 3 set to 1). ResNet-50 is that of the paper's Table 16.
"""

import dataclasses
import difflib
import math

from ns_jax.errors import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Stage:
    """A run of equal MBConv blocks, before width and depth scaling."""

    kernel: int
    repeats: int
    filters: int
    expand: int
    stride: int


EFFICIENTNET_STAGES = (
    Stage(kernel=3, repeats=1, filters=16, expand=1, stride=1),
    Stage(kernel=3, repeats=2, filters=24, expand=6, stride=2),
    Stage(kernel=5, repeats=2, filters=40, expand=6, stride=2),
    Stage(kernel=3, repeats=3, filters=80, expand=6, stride=2),
    Stage(kernel=5, repeats=3, filters=112, expand=6, stride=1),
    Stage(kernel=5, repeats=4, filters=192, expand=6, stride=2),
    Stage(kernel=3, repeats=1, filters=320, expand=6, stride=1),
)
SVHN_STAGES = tuple(
    dataclasses.replace(stage, stride=1) if i in (1, 2) else stage for i, stage in enumerate(EFFICIENTNET_STAGES)
)
SMALL_STAGES = (
    Stage(kernel=3, repeats=1, filters=16, expand=1, stride=1),
    Stage(kernel=3, repeats=2, filters=24, expand=4, stride=2),
    Stage(kernel=5, repeats=2, filters=48, expand=4, stride=2),
)


@dataclasses.dataclass(frozen=True)
class Variant:
    """One row of the zoo. Resolutions in pixels; mean and std on the 0..1 scale."""

    name: str
    resolution: int
    test_resolution: int
    dropout_rate: float
    crop_padding: int = 32
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


@dataclasses.dataclass(frozen=True, kw_only=True)
class EfficientNetVariant(Variant):
    """A row that scales the blocks of B0 by `width` and `depth`."""

    width: float = 1.0
    depth: float = 1.0
    stages: tuple[Stage, ...] = EFFICIENTNET_STAGES
    stem_filters: int = 32
    head_filters: int = 1280

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
    def num_blocks(self) -> int:
        return sum(self.round_repeats(stage.repeats) for stage in self.stages)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResNetVariant(Variant):
    """A row of bottleneck blocks: how many in each of the four stages."""

    repeats: tuple[int, ...]

    @property
    def num_blocks(self) -> int:
        return sum(self.repeats)


_ROWS = (
    #                   name               train test dropout
    EfficientNetVariant("efficientnet-b0", 224, 224, 0.2, width=1.0, depth=1.0),
    EfficientNetVariant("efficientnet-b1", 240, 240, 0.2, width=1.0, depth=1.1),
    EfficientNetVariant("efficientnet-b2", 260, 260, 0.3, width=1.1, depth=1.2),
    EfficientNetVariant("efficientnet-b3", 300, 300, 0.3, width=1.2, depth=1.4),
    EfficientNetVariant("efficientnet-b4", 380, 380, 0.4, width=1.4, depth=1.8),
    EfficientNetVariant("efficientnet-b5", 456, 456, 0.4, width=1.6, depth=2.2),
    EfficientNetVariant("efficientnet-b6", 528, 528, 0.5, width=1.8, depth=2.6),
    EfficientNetVariant("efficientnet-b7", 600, 600, 0.5, width=2.0, depth=3.1),
    EfficientNetVariant("efficientnet-l0", 380, 600, 0.5, width=2.8, depth=3.7),
    EfficientNetVariant("efficientnet-l1", 380, 600, 0.5, width=3.9, depth=3.7),
    EfficientNetVariant("efficientnet-l2", 475, 800, 0.5, width=4.3, depth=5.3),
    EfficientNetVariant("efficientnet-b0-svhn", 32, 32, 0.2, crop_padding=0, stages=SVHN_STAGES,
                        mean=(0.4377, 0.4438, 0.4728), std=(0.1980, 0.2010, 0.1970)),
    EfficientNetVariant("efficientnet-small", 28, 28, 0.2, crop_padding=0, stages=SMALL_STAGES,
                        stem_filters=16, head_filters=256, mean=(0.13, 0.13, 0.13), std=(0.31, 0.31, 0.31)),
    ResNetVariant("resnet-50", 224, 224, 0.0, repeats=(3, 4, 6, 3)),
)  # fmt: skip
VARIANTS = {row.name: row for row in _ROWS}


def get_variant(name: str) -> Variant:
    """The row called `name`. Raises UserError naming the nearest variant for an unknown one."""
    if name not in VARIANTS:
        near = difflib.get_close_matches(name, VARIANTS, n=1, cutoff=0.0)[0]
        raise UserError(f"unknown model variant {name!r}: did you mean {near!r}? "
                        f"There are {', '.join(VARIANTS)}.")  # fmt: skip
    return VARIANTS[name]
