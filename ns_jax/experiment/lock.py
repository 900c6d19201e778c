"""One run at a time in a workdir: a file that the system unlocks when the process that holds it ends, however."""

import contextlib
import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from typing import Any

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

from etils import epath

from ns_jax.errors import UserError

LOCK = "run.lock"
# What a file system says that knows no locks: a run goes on without one there, as in buckets.
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)


@contextlib.contextmanager
def locked(workdir: epath.Path) -> Iterator[None]:
    """Holds the lock of a workdir, which is made where there is none. The file stays, and means nothing unlocked.

    Raises:
      UserError: another run works there (names its host, process and start), or the workdir cannot be written.
    """
    if "://" in str(workdir) or fcntl is None:
        yield
        return
    path = workdir / LOCK
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
        raise UserError(
            f"another run works in {workdir}{_describe(os.pread(descriptor, 4096, 0))}: wait for its end, or choose "
            "another --workdir"
        ) from None
    owner = {"host": socket.gethostname(), "process": os.getpid(), "started": time.strftime("%Y-%m-%d %H:%M:%S %z")}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{json.dumps(owner)}\n".encode(), 0)


def _describe(content: bytes) -> str:
    """' (process P on HOST since TIME)', or '' where the file does not say it."""
    try:
        owner: dict[str, Any] = json.loads(content)
        return f" (process {owner['process']} on {owner['host']} since {owner['started']})"
    except (ValueError, KeyError, TypeError):
        return ""
