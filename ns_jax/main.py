"""Runs an experiment: python -m ns_jax.main --config=configs/mnist5k.py --workdir=DIR."""

import os

from absl import app, flags, logging

from ns_jax.buckets import absolute
from ns_jax.command_line import fail, parse_flags
from ns_jax.errors import UserError
from ns_jax.host_memory import restart_with_kept_memory, use_cpu_alone
from ns_jax.interrupt import end_at_interrupt
from ns_jax.session import one_line_errors, set_up

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", None, "Folder for everything that the run makes. An interrupted run continues there.")
flags.DEFINE_bool("distributed", False, "One of several hosts; cluster and addresses are found by jax.distributed.")
flags.mark_flags_as_required(["config", "workdir"])


def main(argv) -> None:
    if len(argv) > 1:
        fail(UserError(f"unexpected argument {argv[1]!r}"))
    if not FLAGS.workdir:
        fail(UserError("--workdir is empty: name a folder for everything that the run makes"))
    config = FLAGS.config
    with one_line_errors(FLAGS.workdir, FLAGS.distributed):
        from ns_jax.experiment.chain import only_stages
        from ns_jax.experiment.checks import validate

        if FLAGS.stages:
            only_stages(config, FLAGS.stages)
        validate(config)
        from etils import epath

        workdir = epath.Path(absolute(FLAGS.workdir))
        if not FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
        set_up(workdir, config.compilation_cache_dir)
        if FLAGS.distributed:
            from ns_jax.parallel.start import join_hosts  # jax takes seconds to import
            from ns_jax.run.settings import time_outs

            join_hosts(time_outs(config))
        from ns_jax.run import orchestrate

        orchestrate.run(config, workdir)
        if FLAGS.distributed:
            from ns_jax.parallel.start import leave_hosts

            leave_hosts()


def entry_point() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    use_cpu_alone()
    restart_with_kept_memory()
    end_at_interrupt("interrupted; start again to continue")
    app.run(main, flags_parser=parse_flags)


if __name__ == "__main__":
    entry_point()
