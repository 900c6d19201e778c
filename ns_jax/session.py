"""What commands that run experiments share: the process is set up, and what goes wrong ends it with one line."""

import contextlib
import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator

from ns_jax.buckets import explain
from ns_jax.command_line import fail
from ns_jax.errors import HostError, Stopped, UserError

TRACE = os.path.join(tempfile.gettempdir(), "ns_jax-{}.trace")


def set_up(workdir, compilation_cache_dir: str = "") -> None:
    """Sets the compilation cache of jax, and keeps TensorFlow off the accelerators.

    Args:
      workdir: of the run.
      compilation_cache_dir: '': $JAX_COMPILATION_CACHE_DIR, else in the workdir.
    """
    import jax

    with stderr_closed():
        import tensorflow as tf

        for kind in ("GPU", "TPU"):
            tf.config.set_visible_devices([], kind)
        tf.constant(0)  # starts its runtime, which has something to say, too
    cache = compilation_cache_dir or os.environ.get("JAX_COMPILATION_CACHE_DIR")
    jax.config.update("jax_compilation_cache_dir", cache or str(workdir / "compilation_cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


@contextlib.contextmanager
def stderr_closed() -> Iterator[None]:
    """Drops what libraries write to stderr: TensorFlow greets with lines that no level of its log turns off."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextlib.contextmanager
def one_line_errors(workdir: str, distributed: bool = False) -> Iterator[None]:
    """Ends the process with a line for what a user can mend, and after a checkpoint at SIGTERM.

    Args:
      workdir: as the user has named it.
      distributed: whether other hosts wait for this one.
    """
    try:
        yield
    except Stopped as stopped:
        end_stopped(stopped)
    except UserError as error:
        end_everywhere(error, distributed)
        fail(error)
    except Exception as error:
        explained = explain(error)
        if disk_is_full(error):
            explained = UserError(
                f"no space left on the disk of {workdir}: free some and start again; what is "
                "complete is kept, and the run continues there"
            )
        end_everywhere(explained or error, distributed)
        if explained:
            fail(explained)
        raise


def end_everywhere(error: Exception, distributed: bool) -> None:
    """Ends this process and those on other hosts with one line; returns where there are none.

    A trace goes into a file, as it is of this host alone.
    """
    if not distributed:
        return
    from ns_jax.parallel.start import fail_together

    if not isinstance(error, UserError | HostError | OSError):
        with contextlib.suppress(OSError), open(TRACE.format(os.getpid()), "w") as file:
            traceback.print_exception(error, file=file)
        error.args = (f"{error} (trace in {TRACE.format(os.getpid())} there)",)
    fail_together(error)


def end_stopped(stopped: Stopped) -> None:
    """Ends the process as SIGTERM would have, with the line that says where the run stands."""
    import jax

    if jax.process_index() == 0:
        print(stopped, flush=True)
    from ns_jax.parallel.start import leave_hosts

    # Waits until every host is here: they could not outlive process 0.
    leave_hosts()
    # At once, as by the signal itself: threads still read images.
    os._exit(143)


def disk_is_full(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, comes from a full disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(error) or "Disk quota exceeded" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
