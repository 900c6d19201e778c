"""Packages that are needed for some things only."""

import importlib
from types import ModuleType

from ns_jax.errors import UserError


def require_package(name: str, extra: str) -> ModuleType:
    """Imports a package. Raises UserError with the command that installs it where it is missing."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != name:
            raise
        raise UserError(f"the package {name} is not installed: python -m pip install 'ns_jax[{extra}]'") from None
