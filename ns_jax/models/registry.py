"""Every model by its name: the tables of the families, or a factory of one's own by its import path."""

import functools

from ns_jax.errors import UserError
from ns_jax.models import resnet
from ns_jax.models.base import CONTRACT, Architecture
from ns_jax.models.efficientnet import variants as efficientnet
from ns_jax.registry import Registry, is_import_path, require_attributes

ARCHITECTURES = Registry("model variant", efficientnet.VARIANTS | resnet.VARIANTS)


@functools.cache
def get_architecture(name: str) -> Architecture:
    """Returns the architecture called `name`, or what the factory at an import path returns.

    Args:
      name: a name of the tables, or 'package.module:factory' of a callable without arguments.

    Raises:
      UserError: there is no such name (the message has the nearest one), the factory cannot be imported or fails,
        or what it returns lacks a part of the contract (named).
    """
    entry = ARCHITECTURES.get(name)
    if not is_import_path(name):
        return entry
    if not callable(entry):
        raise UserError(f"model variant {name!r} is a {type(entry).__name__}: name a function or class that makes one")
    try:
        architecture = entry()
    except TypeError as error:  # also of an abstract class that lacks a method
        raise UserError(f"model variant {name!r} cannot be made: {error}") from None
    require_attributes(architecture, CONTRACT, "model variant", name)
    # Artifacts name their architecture, so that they can be opened again.
    object.__setattr__(architecture, "name", name)
    return architecture
