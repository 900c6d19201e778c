"""Operations on training images, and the values that describe an augmentation. Imports no TensorFlow."""

import dataclasses
from collections.abc import Callable

from ns_jax.registry import Registry

# {name: operation}. The crops are functions (view, seed, augmentation) -> window (see ns_jax/data/decode.py), because
# they choose the part of an image before it is decoded. All others are functions (image, seed, augmentation) -> image
# of TensorFlow graph code: seed is int64 [2], and what they return has the shape and the dtype of what they got.
AUGMENTATIONS = Registry(
    "augmentation",
    {
        "random_area": "ns_jax.data.ops.crops:random_area_window",
        "center": "ns_jax.data.ops.crops:center_window",
        "pad4": "ns_jax.data.ops.pad:pad4",
        "flip": "ns_jax.data.ops.flip:flip",
        "flip_vertical": "ns_jax.data.ops.flip:flip_vertical",
        "quarter_turns": "ns_jax.data.ops.flip:quarter_turns",
        "randaugment": "ns_jax.data.ops.randaugment.operation:randaugment",
        "cutout": "ns_jax.data.ops.cutout:cutout",
    },
)
CROPS = ("random_area", "center")


@dataclasses.dataclass(frozen=True)
class RandAugmentSettings:
    """Settings of the operation 'randaugment' (Cubuk et al., 2020).

    Attributes:
      num_ops: operations per image; 0: the image stays as it is.
      magnitude: 10 is the nominal maximum; beyond it the operations extrapolate.
      set: the operations to draw from: a name of RANDAUGMENT_SETS, or 'package.module:NAME' of a tuple.
      form: 'reference' (the official code, bug for bug) or 'pillow' (Pillow's results).
    """

    num_ops: int = 2
    magnitude: float = 10.0
    set: str = "official"
    form: str = "reference"


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What is done to the images of a training stream.

    Attributes:
      operations: in order: names of AUGMENTATIONS, or 'package.module:function' of one's own. A crop comes first;
        without one, images are the model's own centre crop. () is the clean centre crop.
      randaugment: of the operation 'randaugment'.
      cutout_size: side of the square of the operation 'cutout', in pixels; 0: the image stays as it is.
      crop_min_area: smallest share of the area that the crop 'random_area' takes.
    """

    operations: tuple[str, ...] = ()
    randaugment: RandAugmentSettings = RandAugmentSettings()
    cutout_size: int = 0
    crop_min_area: float = 0.08

    @property
    def crop(self) -> str | None:
        """Name of the crop, if there is one."""
        first = self.operations[0] if self.operations else None
        return first if first in CROPS else None

    def steps(self) -> list[tuple[str, Callable]]:
        """Names and functions of the operations other than the crop, in order.

        Raises:
          UserError: a name that does not exist, or an import path that cannot be imported.
        """
        names = self.operations[1:] if self.crop else self.operations
        return [(name, AUGMENTATIONS.get(name)) for name in names]
