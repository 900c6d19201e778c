"""One run at a time in a workdir: a file that the system unlocks when the process that holds it ends, however.

In a bucket nobody unlocks for a process that has ended: see `ns_jax/experiment/lease.py`.
"""

import contextlib
import errno
import json
import os
from collections.abc import Iterator

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

from etils import epath

from ns_jax.buckets import is_bucket
from ns_jax.errors import UserError
from ns_jax.experiment.lease import Lease, another_run, this_process

LOCK = "run.lock"
# What a file system says that knows no locks: a run goes on without one there.
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)


@contextlib.contextmanager
def locked(workdir: epath.Path) -> Iterator[None]:
    """Holds the lock of a workdir, which is made where there is none. The file stays, and means nothing unlocked.

    Raises:
      UserError: another run works there (names its host, process and start), or the workdir cannot be written.
    """
    path = workdir / LOCK
    if is_bucket(workdir) or fcntl is None:
        with Lease(path) if is_bucket(workdir) else contextlib.nullcontext():
            yield
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise UserError(f"{workdir} cannot be written ({error.strerror}): choose another --workdir") from None
    try:
        _acquire(descriptor, workdir)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, workdir: epath.Path) -> None:
    """Locks an open file and writes into it who does."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return
        raise another_run(workdir, os.pread(descriptor, 4096, 0)) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{json.dumps(this_process())}\n".encode(), 0)
