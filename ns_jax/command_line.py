"""What commands with a --config share: the flag itself, and errors as one line."""

import ast
import os
import re
import sys
from typing import NoReturn

from absl import flags
from ml_collections import ConfigDict, config_flags
from ml_collections.config_flags import tuple_parser

from ns_jax.errors import UserError
from ns_jax.experiment.fields import FIELDS, SECTIONS, unknown_field
from ns_jax.experiment.opening import open_config

FLAGS = flags.FLAGS


class ConfigParser(config_flags.ConfigFileFlagParser):
    """Opens what --config names, see `open_config`."""

    def parse(self, path: str) -> ConfigDict:
        return open_config(path)


class TupleParser(tuple_parser.TupleParser):
    """Tuples as Python writes them, and as names between commas: 'flip,randaugment'."""

    def parse(self, argument) -> tuple:
        if argument is None:
            return ()
        arguments = argument if isinstance(argument, list | tuple) else [argument]
        return tuple(item for part in arguments for item in _items(part))


def _items(argument) -> tuple:
    """Returns the items of one argument of a tuple."""
    if not isinstance(argument, str):
        return (argument,)
    try:
        value = ast.literal_eval(argument)
    except (SyntaxError, ValueError):
        return tuple(item.strip() for item in argument.split(",") if item.strip())
    return tuple(value) if isinstance(value, list | tuple) else (value,)


config_flags.register_flag_parser_for_type(tuple, TupleParser())
config_flags.DEFINE_config_file("config", None, "FILE.py, as in configs/, or WORKDIR/config.json.", lock_config=True)
FLAGS["config"].parser = ConfigParser("config")
flags.DEFINE_list("stages", None, "Only these stages, as label, select, train, finetune, evaluate.")
flags.mark_flag_as_required("config")


def parse_flags(argv: list[str]) -> list[str]:
    """Parses as absl does, with one line instead of a traceback for what cannot be read."""
    try:
        check_overrides(FLAGS.read_flags_from_files(argv, force_gnu=False))
        return FLAGS(argv)
    except UserError as error:
        fail(UserError(f"--config: {one_line(error)}"))
    except flags.Error as error:
        fail(UserError(f"{one_line(error)} (--help lists the flags, ns_jax/experiment/fields.py the fields)"))
    except Exception as error:  # ml_collections lets pass whatever a wrong name or value makes Python say
        cause = error.args[0] if error.args and isinstance(error.args[0], KeyError) else error
        text = f"unknown field {cause.args[0]}" if isinstance(cause, KeyError) and cause.args else cause
        fail(UserError(f"--config: {one_line(text)}"))


def check_overrides(argv: list[str]) -> None:
    """Raises UserError for an argument --config.FIELD=VALUE whose field does not exist."""
    for argument in argv[1:]:
        if argument == "--":
            return
        override = re.match(r"--?(?:no)?config\.([^=]*)", argument)
        if not override:
            continue
        field = override[1]
        if "[" in field:
            name = field.partition("[")[0]
            raise UserError(f"{field}: a tuple is given as a whole, as --config.{name}=A,B")
        field = re.sub(r"^chain\.[^.]*\.", "", field)
        if field not in FIELDS and field not in SECTIONS and field.partition(".")[0] not in ("chain", "evaluations"):
            raise UserError(unknown_field(field))


def one_line(text) -> str:
    """Returns a message without line breaks."""
    return " ".join(str(text).split())


def fail(error: Exception) -> NoReturn:
    """Prints an error and ends the process with exit code 2."""
    print(f"error: {error}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    # At once: threads that still write would add their own complaints to a full disk's.
    os._exit(2)
