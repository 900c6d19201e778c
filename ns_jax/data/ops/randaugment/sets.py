"""Named sets of RandAugment operations.

An operation is drawn by its position in the set. A published set therefore never changes: neither its names nor their
order. A new operation makes a new set. Imports no TensorFlow.
"""

from collections.abc import Callable
from types import MappingProxyType

from ns_jax.errors import UserError
from ns_jax.registry import Registry

OFFICIAL = (
    "AutoContrast",
    "Equalize",
    "Invert",
    "Rotate",
    "Posterize",
    "Solarize",
    "Color",
    "Contrast",
    "Brightness",
    "Sharpness",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Cutout",
    "SolarizeAdd",
)
# For grey digits on black: without those that only recolour.
DIGITS = ("Rotate", "Posterize", "Brightness", "Sharpness", "ShearX", "ShearY", "TranslateX", "TranslateY", "Cutout")

RANDAUGMENT_SETS = MappingProxyType({"official": OFFICIAL, "digits": DIGITS})
_REGISTRY = Registry("RandAugment set", RANDAUGMENT_SETS)


def get_set(name: str) -> tuple[str | Callable, ...]:
    """The operations of a set, each a name or a function (image, magnitude, draw) -> image.

    Args:
      name: of RANDAUGMENT_SETS, or 'package.module:NAME' of a tuple.

    Raises:
      UserError: there is no such set, or it is not a tuple of names and functions.
    """
    operations = _REGISTRY.get(name)
    if not isinstance(operations, tuple) or not operations:
        raise UserError(
            f"RandAugment set {name!r}: must be a tuple of names and functions, not {type(operations).__name__}"
        )
    for operation in operations:
        if not isinstance(operation, str) and not callable(operation):
            raise UserError(f"RandAugment set {name!r}: {operation!r} is neither a name nor a function")
    return operations
