"""What commands with a --config share: the flag itself, and errors as one line."""

import os
import sys

from absl import flags
from ml_collections import ConfigDict, config_flags

from ns_jax.errors import UserError

FLAGS = flags.FLAGS
LOADER_PREFIX = "Configuration is not available because of an earlier failure to load: "
config_flags.DEFINE_config_file("config", None, "An experiment, as in configs/.", lock_config=True)
flags.DEFINE_list("stages", None, "Only these stages: label, select, train, finetune, evaluate.")
flags.mark_flag_as_required("config")


def parse_flags(argv: list[str]) -> list[str]:
    """absl's parsing, with one line instead of a trace for a config that cannot be read."""
    try:
        rest = FLAGS(argv)
        FLAGS.config.keys()  # a file that could not be loaded says so only when it is used
        return rest
    except flags.Error as error:
        fail(UserError(f"{one_line(error)} (--help lists the flags, configs/common.py the fields)"))
    except (AttributeError, KeyError, TypeError, ValueError, OSError, ImportError) as error:
        cause = error.args[0] if error.args and isinstance(error.args[0], KeyError) else error
        text = f"unknown field {cause.args[0]}" if isinstance(cause, KeyError) and cause.args else cause
        fail(UserError(f"--config: {one_line(text)}"))


def one_line(text) -> str:
    lines = str(text).strip().splitlines()
    if any("Traceback" in line for line in lines):  # ml_collections appends the whole trace of a config's error
        lines = [lines[0], lines[-1]]
    return " ".join(" ".join(lines).split()).removeprefix(LOADER_PREFIX)


def fail(error: Exception) -> None:
    print(f"error: {error}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    # At once: threads that still write would add their own complaints to a full disk's.
    os._exit(2)


def only_stages(config: ConfigDict, stages: list[str]) -> None:
    """Every iteration of the config has these stages."""
    config.stages = tuple(stages)
    for one in config.chain.values():
        with one.unlocked():
            one.stages = tuple(stages)
