"""What commands with a --config share: the flag itself, and errors as one line."""

import ast
import os
import re
import sys
from typing import Any, NoReturn

from absl import flags
from ml_collections import ConfigDict, config_dict, config_flags
from ml_collections.config_flags import tuple_parser

from ns_jax.errors import UserError
from ns_jax.experiment.evaluations import every_option
from ns_jax.experiment.fields import FIELDS, SECTIONS, Unset, unknown_field, value_of
from ns_jax.experiment.opening import open_config

FLAGS = flags.FLAGS
OVERRIDE = re.compile(r"--?(?:no)?config\.([^=]*)")
# The arguments in which ml_collections looks for --config.FIELD=VALUE; `parse_flags` fills it.
ARGUMENTS: list[str] = []


class ConfigParser(flags.ArgumentParser):
    """Opens what --config names, see `open_config`."""

    def parse(self, argument: str) -> ConfigDict:
        config = open_config(argument)
        for field in overridden_fields(ARGUMENTS):
            make_room(config, field)
        return config


class TupleParser(tuple_parser.TupleParser):
    """Tuples as Python writes them, and as names between commas: 'flip,randaugment'."""

    def parse(self, argument: Any) -> tuple:
        if argument is None:
            return ()
        parts = argument if isinstance(argument, list | tuple) else [argument]
        return tuple(item for part in parts for item in _items(part))


def _items(argument: Any) -> tuple:
    """Returns the items of one argument of a tuple."""
    if not isinstance(argument, str):
        return (argument,)
    if argument.strip()[:1] in ("(", "[", "'", '"'):
        value = ast.literal_eval(argument.strip())
        return tuple(value) if isinstance(value, list | tuple) else (value,)
    return tuple(item.strip() for item in argument.split(",") if item.strip())


config_flags.register_flag_parser_for_type(tuple, TupleParser())
config_flags.DEFINE_config_file(
    "config", None, "FILE.py, as in configs/, or WORKDIR/config.json.", lock_config=True, sys_argv=ARGUMENTS
)
FLAGS["config"].parser = ConfigParser()
flags.DEFINE_list("stages", None, "Only these stages, as label, select, train, finetune, evaluate.")


def parse_flags(argv: list[str]) -> list[str]:
    """Parses as absl does, with one line instead of a traceback for what cannot be read."""
    try:
        ARGUMENTS[:] = FLAGS.read_flags_from_files(argv, force_gnu=False)
        for field in overridden_fields(ARGUMENTS):
            check_field(field)
        return FLAGS(argv)
    except UserError as error:
        fail(UserError(f"--config: {one_line(error)}"))
    except flags.Error as error:
        fail(UserError(f"{one_line(error)} (--help lists the flags, ns_jax/experiment/fields.py the fields)"))
    except Exception as error:  # ml_collections lets pass whatever a wrong name or value makes Python say
        fail(UserError(f"--config: {one_line(error)}"))


def overridden_fields(arguments: list[str]) -> list[str]:
    """Returns the fields of --config.FIELD=VALUE and --noconfig.FIELD in a command."""
    options = arguments[1 : arguments.index("--")] if "--" in arguments else arguments[1:]
    return [override[1] for argument in options if (override := OVERRIDE.match(argument))]


def check_field(field: str) -> None:
    """Raises UserError where a command names a field that does not exist."""
    if "[" in field:
        name = field.partition("[")[0]
        raise UserError(f"{field}: a tuple is given as a whole, as --config.{name}=A,B")
    part, _, rest = field.partition(".")
    inner = rest.partition(".")[2]
    if part == "evaluations" and inner:
        return
    if part == "chain" and inner:
        field = inner
    if field in SECTIONS or field.partition(".")[0] in ("chain", "evaluations"):
        raise UserError(f"{field} holds several fields: set one of them")
    if field not in FIELDS:
        raise UserError(unknown_field(field))


def make_room(config: ConfigDict, field: str) -> None:
    """Adds the entry that a command overrides, where `chain` or `evaluations` does not have it yet."""
    part, _, rest = field.partition(".")
    name, _, inner = rest.partition(".")
    with config.unlocked():
        if part == "evaluations":
            entry = _entry(config.evaluations, name)
            known = every_option()
            if inner not in known and inner not in entry:
                raise UserError(f"{field}: an evaluation has {', '.join(known)}")
            if inner not in entry:
                entry[inner] = known[inner][0]
        elif part == "chain":
            if name not in config.chain:
                have = ", ".join(config.chain) or "there is none"
                raise UserError(f"{field}: chain has no iteration {name} ({have})")
            _add_override(config.chain[name], inner, value_of(config, inner))


def _entry(config: ConfigDict, name: str) -> ConfigDict:
    """Returns the config called `name` in another, which is added where there is none."""
    if name not in config:
        config[name] = ConfigDict()
    return config[name]


def _add_override(overrides: ConfigDict, field: str, value: Any) -> None:
    """Adds a field with its value in the whole run to an iteration's overrides, for the command to replace."""
    section, _, leaf = field.rpartition(".")
    holder = _entry(overrides, section) if section else overrides
    if leaf not in holder:
        default = FIELDS[field].default
        holder[leaf] = config_dict.placeholder(default.kind) if isinstance(default, Unset) else value


def one_line(text: object) -> str:
    """Returns a message without line breaks, and without the middle of a very long one."""
    line = " ".join(str(text).split())
    return line if len(line) <= 500 else f"{line[:300]} ... {line[-190:]}"


def fail(error: Exception) -> NoReturn:
    """Prints an error and ends the process with exit code 2."""
    print(f"error: {error}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    # At once: threads that still write would add their own complaints to a full disk's.
    os._exit(2)
