"""Trains on your own images: python -m ns_jax.fit --labeled=DIR --unlabeled=DIR [--test=DIR] --workdir=DIR.

It looks at the images, measures this machine, prints a plan, and runs it. The same command goes on after an
interruption. Every field of the recipe, configs/own_images.py, can be set: --config.augment=random_area,flip
"""

import os

from absl import app, flags, logging

from ns_jax.buckets import absolute
from ns_jax.command_line import ARGUMENTS, fail, overridden_fields, parse_flags
from ns_jax.errors import UserError
from ns_jax.host_memory import restart_with_kept_memory, use_cpu_alone
from ns_jax.interrupt import end_at_interrupt
from ns_jax.session import one_line_errors, set_up

FLAGS = flags.FLAGS
RECIPE = "--config=configs/own_images.py"


def define_flags() -> None:
    flags.DEFINE_string("labeled", None, "Images with labels: a folder with one sub-folder per class, or a table.")
    flags.DEFINE_string("unlabeled", None, "Images without labels: a folder, or a table.")
    flags.DEFINE_string("test", "", "Images with labels to measure the result on; looked at once, at the end.")
    flags.DEFINE_string("corrections", "", "Table of path and label: labels that a person has checked.")
    flags.DEFINE_string("after", "", "Folder of an earlier run: its plan is taken over, and the results are compared.")
    flags.DEFINE_string("start", None, "Weights to start from: a name, as efficientnet-lite0, or a model's path.")
    flags.DEFINE_string("budget", "30m", "How long it may take, as 30m or 2h.")
    flags.DEFINE_bool("control", False, "Also train a supervised model, with as many steps.")
    flags.DEFINE_string("workdir", None, "Folder for all that the run makes. An interrupted run continues there.")
    flags.mark_flags_as_required(["labeled", "unlabeled", "workdir"])


def parse(argv: list[str]) -> list[str]:
    """Parses flags; without --config it is configs/own_images.py."""
    has_config = any(argument.startswith(("--config=", "-config=")) or argument == "--config" for argument in argv)
    return parse_flags(argv if has_config else [argv[0], RECIPE, *argv[1:]])


def main(argv) -> None:
    if len(argv) > 1:
        fail(UserError(f"unexpected argument {argv[1]!r}"))
    with one_line_errors(FLAGS.workdir):
        from etils import epath

        if not FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
        workdir, config = epath.Path(absolute(FLAGS.workdir)), FLAGS.config
        set_up(workdir, config.compilation_cache_dir)
        from ns_jax.fitting.run import Images, fit_run, set_start

        given = set(overridden_fields(ARGUMENTS))
        if FLAGS.start is not None:
            given |= set_start(config, FLAGS.start)
        images = Images(FLAGS.labeled, FLAGS.unlabeled, FLAGS.test, FLAGS.corrections)
        fit_run(images, workdir, config, given, FLAGS.budget, FLAGS.control, FLAGS.after)


def entry_point() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    use_cpu_alone()
    restart_with_kept_memory()
    end_at_interrupt("interrupted; start again to continue")
    define_flags()
    app.run(main, flags_parser=parse)


if __name__ == "__main__":
    entry_point()
