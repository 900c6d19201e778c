"""From what --config names to the config: a Python file with `get_config`, or the config.json of a run."""

import difflib
import importlib.util
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from ns_jax.errors import UserError
from ns_jax.experiment.fields import FIELDS, SECTIONS, unknown_field


def open_config(spec: str) -> ConfigDict:
    """Returns the locked config that a string names.

    Args:
      spec: 'FILE.py' or 'FILE.py:ARGUMENT', whose `get_config()` or `get_config(ARGUMENT)` makes a config; or
        'WORKDIR/config.json'. A path 'configs/...' that is not in the current folder is taken from the package.

    Raises:
      UserError: there is no such file, it fails (with its line), or what it makes is no config.
    """
    if spec.endswith(".json"):
        from ns_jax.experiment.saved import load_config

        return load_config(spec)
    path_text, colon, argument = spec.partition(":")
    path = find_file(path_text)
    get_config = _load_function(path)
    arguments = (argument,) if colon else ()
    try:
        inspect.signature(get_config).bind(*arguments)
    except TypeError:
        wants = "no argument" if colon else "an argument"
        raise UserError(f"{path}: get_config takes {wants}: --config=FILE.py{'' if colon else ':ARGUMENT'}") from None
    config = _run_line_by_line(lambda: get_config(*arguments), path)
    _check_result(config, path)
    return config.lock()


def find_file(path_text: str) -> Path:
    """Returns the path of a config's file.

    Raises:
      UserError: neither the current folder nor the package has it (names the nearest of the package).
    """
    path = Path(path_text)
    if not path_text:
        raise UserError("it names no file, as configs/mnist5k.py")
    if path.is_file():
        return path
    import ns_jax.configs

    folder = Path(ns_jax.configs.__file__).parent
    parts = path.parts
    if parts[:1] == ("configs",) and (folder / Path(*parts[1:])).is_file():
        return folder / Path(*parts[1:])
    if path.exists():
        raise UserError(f"{path} is not a file: name a Python file with get_config, as configs/mnist5k.py")
    known = [f"configs/{other.name}" for other in folder.glob("*.py") if other.name != "__init__.py"]
    near = difflib.get_close_matches(path_text, known, n=1)
    raise UserError(f"there is no file {path_text}" + (f", did you mean {near[0]}?" if near else ""))


def _load_function(path: Path) -> Callable[..., ConfigDict]:
    """Runs a config's file and returns its `get_config`."""
    if path.suffix != ".py":
        raise UserError(f"{path}: an experiment is a Python file (.py) or the config.json of a run")
    name = f"experiment_{path.stem}"
    loading = importlib.util.spec_from_file_location(name, path)
    assert loading and loading.loader  # a path that ends in .py has both
    module, execute = importlib.util.module_from_spec(loading), loading.loader.exec_module
    sys.modules[name] = module
    _run_line_by_line(lambda: execute(module), path)
    if not callable(getattr(module, "get_config", None)):
        raise UserError(f"{path} has no function get_config")
    return module.get_config


def _run_line_by_line(function: Callable[[], Any], path: Path) -> Any:
    """Calls `function`; what it raises becomes a UserError with the line of the config's file."""
    try:
        return function()
    except SyntaxError as error:
        where = error.filename or path
        raise UserError(f"{_shorten(where)}, line {error.lineno}: {type(error).__name__}: {error.msg}") from None
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # Ctrl-C ends commands without raising anything
        frames = traceback.extract_tb(error.__traceback__)
        inside = [frame for frame in frames if frame.filename == str(path)] or frames
        where = f"{_shorten(inside[-1].filename)}, line {inside[-1].lineno}"
        raise UserError(f"{where}: {_explain(error, inside[-1].line or '')}") from None


def _explain(error: BaseException, line: str) -> str:
    """Returns what an error says, on one line. `line` is where it was raised."""
    if isinstance(error, SystemExit):
        return f"ends the program (SystemExit {error.code!r}) instead of returning a config"
    words = " ".join(str(error).split())
    if isinstance(error, AttributeError | KeyError) and "does not exist and cannot be added" in words:
        # A locked config names the key that it has not, but not the section in which it was looked for.
        key = words.split('"')[1]
        in_section = re.search(rf"\b({'|'.join(SECTIONS)})\.{re.escape(key)}\b", line)
        return unknown_field(in_section[0] if in_section else key)
    is_said_by_hand = isinstance(error, UserError | ValueError)
    return words[:500] if is_said_by_hand and words else f"{type(error).__name__}: {words}"[:500]


def _shorten(filename: str | Path) -> str:
    """Returns a path relative to the current folder where it is below it."""
    relative = os.path.relpath(filename)
    return str(filename) if relative.startswith("..") else relative


def _check_result(config: Any, path: Path) -> None:
    """Raises UserError unless a config has all fields and no others."""
    if not isinstance(config, ConfigDict):
        kind = "nothing" if config is None else f"a {type(config).__name__}"
        raise UserError(
            f"{path}: get_config returns {kind}: it must return what ns_jax.configs.common.get_config gives"
        )
    have = set(_field_names(config))
    missing = [name for name in (*FIELDS, "chain", "evaluations") if name not in have]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(
            f"{path}: the config lacks {missing[0]}{more}: start from c = common.get_config(), of "
            "`from ns_jax.configs import common`"
        )
    surplus = sorted(have - set(FIELDS) - {"chain", "evaluations"})
    if surplus:
        raise UserError(f"{path}: {unknown_field(surplus[0])}")


def _field_names(config: ConfigDict) -> Iterator[str]:
    """Yields the full names of a config's fields; 'chain' and 'evaluations' count as one each."""
    for key in config:
        if key in SECTIONS and isinstance(config[key], ConfigDict):
            yield from (f"{key}.{leaf}" for leaf in config[key])
        else:
            yield key
