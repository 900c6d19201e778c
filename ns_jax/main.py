"""Runs an experiment: python -m ns_jax.main --config=configs/mnist5k.py --workdir=DIR."""

import errno
import os
import sys
import traceback

from absl import app, flags, logging

from ns_jax.command_line import fail, parse_flags
from ns_jax.errors import Stopped, UserError
from ns_jax.host_memory import restart_with_kept_memory, use_cpu_alone
from ns_jax.interrupt import end_at_interrupt

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", None, "Folder for everything that the run makes. An interrupted run continues there.")
flags.DEFINE_bool("distributed", False, "One of several hosts; cluster and addresses are found by jax.distributed.")
flags.mark_flags_as_required(["config", "workdir"])


def disk_is_full(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, comes from a full disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(error) or "Disk quota exceeded" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def set_up(config, workdir) -> None:
    """Compilation cache, TensorFlow kept off the accelerators, other hosts."""
    if not FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    import jax

    from ns_jax.data.devices import keep_off_accelerators
    from ns_jax.parallel.start import join_hosts

    keep_off_accelerators()
    cache = config.compilation_cache_dir or os.environ.get("JAX_COMPILATION_CACHE_DIR")
    jax.config.update("jax_compilation_cache_dir", cache or str(workdir / "compilation_cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    if FLAGS.distributed:
        join_hosts()


def main(argv) -> None:
    if len(argv) > 1:
        fail(UserError(f"unexpected argument {argv[1]!r}"))
    config = FLAGS.config
    try:
        from ns_jax.experiment.chain import only_stages
        from ns_jax.experiment.fields import validate

        if FLAGS.stages:
            only_stages(config, FLAGS.stages)
        validate(config)
        from etils import epath

        workdir = epath.Path(os.path.abspath(FLAGS.workdir) if "://" not in FLAGS.workdir else FLAGS.workdir)
        set_up(config, workdir)
        from ns_jax.run import orchestrate

        orchestrate.run(config, workdir)
    except Stopped as stopped:
        from ns_jax.parallel.start import end_stopped

        end_stopped(stopped)
    except UserError as error:
        fail(error)
    except Exception as error:
        if disk_is_full(error):
            fail(
                UserError(
                    f"no space left on the disk of {FLAGS.workdir}: free some and start again; what is "
                    "complete is kept, and the run continues there"
                )
            )
        if FLAGS.distributed:
            traceback.print_exc()
            sys.stdout.flush()
            # At once: jax would wait for the other hosts at the exit, minutes long, and they for this one.
            os._exit(1)
        raise


def entry_point() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    use_cpu_alone()
    restart_with_kept_memory()
    end_at_interrupt("interrupted; start again to continue")
    app.run(main, flags_parser=parse_flags)


if __name__ == "__main__":
    entry_point()
