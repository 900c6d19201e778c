"""Settings in TOML files, read as dataclasses; a mistake there is an error of one line."""

import dataclasses
import difflib
import pathlib
import tomllib
import typing

from launch.errors import LaunchError

TYPES = {
    bool: "true or false",
    float: "a number",
    int: "a whole number",
    str: "a string",
    list[str]: "a list of strings",
    list[dict]: "a list of tables",
}


def has_type(value, wanted: type) -> bool:
    """Whether a value of a TOML file is of one of TYPES."""
    if elements := typing.get_args(wanted):
        return type(value) is list and all(type(element) is elements[0] for element in value)
    return type(value) is wanted


def read_toml(path: str, kind: type):
    """Reads a TOML file as a dataclass. Raises LaunchError."""
    try:
        table = tomllib.loads(pathlib.Path(path).read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LaunchError(f"{path}: {error}") from None
    return from_table(path, table, kind)


def from_table(where: str, table: dict, kind: type):
    """Makes a dataclass of a table whose keys are its fields.

    Args:
      where: the table comes from, for messages.
      table: of a TOML file.
      kind: the dataclass.

    Raises:
      LaunchError: a key is unknown, missing or of another type; or the dataclass refuses a value.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key, value in table.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1, cutoff=0)[0]
            raise LaunchError(f"{where}: unknown key {key!r}; the nearest one is {near!r}")
        wanted = fields[key].type
        if wanted is float and type(value) is int:
            value = float(value)
        if not has_type(value, wanted):
            raise LaunchError(f"{where}: {key} = {value!r} must be {TYPES[wanted]}")
    for name, field in fields.items():
        if name not in table and field.default is field.default_factory is dataclasses.MISSING:
            near = difflib.get_close_matches(name, table, n=1, cutoff=0)
            raise LaunchError(f"{where}: missing key {name!r}" + (f"; the nearest one is {near[0]!r}" if near else ""))
    try:
        return kind(**table)
    except LaunchError as error:
        raise LaunchError(f"{where}: {error}") from None


def require_filled(settings, *names: str) -> None:
    """Raises LaunchError where one of these strings is empty."""
    for name in names:
        if not getattr(settings, name).strip():
            raise LaunchError(f"{name} is empty")


def require_above_zero(settings, *names: str) -> None:
    """Raises LaunchError unless these numbers are finite and above 0."""
    for name in names:
        if not 0 < getattr(settings, name) < float("inf"):
            raise LaunchError(f"{name} = {getattr(settings, name)} must be above 0")
