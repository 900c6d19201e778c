"""Names in a config to the things that they name: an entry of a table, or `package.module:attribute`."""

import difflib
import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from ns_jax.errors import UserError


def is_import_path(name: str) -> bool:
    """Whether `name` has the form `package.module:attribute`."""
    module, colon, attribute = name.partition(":")
    return bool(colon) and attribute.isidentifier() and all(part.isidentifier() for part in module.split("."))


def import_attribute(path: str, what: str) -> Any:
    """Imports `package.module:attribute`.

    Args:
      path: the import path.
      what: noun for error messages, as 'model'.

    Raises:
      UserError: the module cannot be imported, or has no such attribute; names both and the reason.
    """
    module_name, _, attribute = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the module's own code raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{what} {path!r}: cannot import {module_name} ({reason})") from None
    if not hasattr(module, attribute):
        near = difflib.get_close_matches(attribute, vars(module), n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise UserError(f"{what} {path!r}: {module_name} has no {attribute!r}{hint}")
    return getattr(module, attribute)


class Registry:
    """A table of named things; a thing of one's own is named by its import path instead.

    Args:
      what: noun for error messages, as 'selection rule'.
      entries: {name: the thing, or the import path 'package.module:attribute' where it is}. Import paths are
        resolved when they are asked for, so that the table itself imports nothing heavy.
    """

    def __init__(self, what: str, entries: Mapping[str, Any]):
        self.what = what
        self._entries = dict(entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def get(self, name: str) -> Any:
        """Returns what `name` names.

        Raises:
          UserError: there is no such name (the message has the nearest one), or it cannot be imported.
        """
        if name in self._entries:
            entry = self._entries[name]
            if isinstance(entry, str) and is_import_path(entry):
                return import_attribute(entry, self.what)
            return entry
        if is_import_path(name):
            return import_attribute(name, self.what)
        near = difflib.get_close_matches(name, self._entries, n=1, cutoff=0.0)
        raise UserError(
            f"unknown {self.what} {name!r}: did you mean {near[0]!r}? There are {', '.join(self._entries)}, and "
            "package.module:attribute for one of your own"
        )


def require_attributes(thing: Any, attributes: tuple[str, ...], what: str, name: str) -> None:
    """Raises UserError that names every attribute which `thing` lacks."""
    missing = [attribute for attribute in attributes if not hasattr(thing, attribute)]
    if missing:
        kind = thing.__name__ if isinstance(thing, type) else type(thing).__name__
        raise UserError(
            f"{what} {name!r}: {kind} lacks {', '.join(missing)} (the contract needs {', '.join(attributes)})"
        )
