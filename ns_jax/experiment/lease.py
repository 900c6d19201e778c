"""Files that a process holds as long as it lives: the lock of a run in a bucket, and the claims of labelling workers.

A process makes the file on the condition that there is none, and writes it again and again on the condition that nobody
else has. A file that has not changed for LEASE seconds is of a process that has ended. Whoever waits counts them from
when it first saw that content, by a clock of its own that only goes forward: no two clocks are ever compared.
"""

import contextlib
import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from absl import logging
from etils import epath

from ns_jax import buckets
from ns_jax.errors import AnotherRunError, UserError
from ns_jax.files import delete_if_unchanged, read_with_version, write_if_unchanged

BEAT = 15.0  # seconds between two writes
LEASE = 60.0  # seconds without a write after which a process counts as ended
POLL = 1.0


def this_process() -> dict[str, Any]:
    """{host, process, started, pids}: what a lock says of the process that holds it.

    `pids` names the space in which its number is one; containers may share a host's name, but not that.
    """
    started = time.strftime("%Y-%m-%d %H:%M:%S %z")
    return {"host": socket.gethostname(), "process": os.getpid(), "started": started, "pids": _space_of_pids()}


def _space_of_pids() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:  # not on Linux
        return ""


def _owner(content: bytes) -> dict[str, Any]:
    try:
        owner = json.loads(content)
        return owner if isinstance(owner, dict) else {}
    except ValueError:
        return {}


def describe(content: bytes) -> str:
    """' (process P on HOST since TIME)', or '' where a lock does not say it."""
    owner = _owner(content)
    if not {"process", "host", "started"} <= owner.keys():
        return ""
    return f" (process {owner['process']} on {owner['host']} since {owner['started']})"


def another_run(workdir: epath.Path, content: bytes) -> AnotherRunError:
    """The error of a workdir in which another run works, by what its lock says."""
    return AnotherRunError(
        f"another run works in {workdir}{describe(content)}: wait for its end, or choose another --workdir"
    )


def has_ended(content: bytes) -> bool:
    """Whether a lock is of a process of this host that is there no more, or that this one has replaced."""
    owner, here = _owner(content), this_process()
    if owner.get("host") != here["host"] or not isinstance(owner.get("process"), int):
        return False
    if owner.get("pids", here["pids"]) != here["pids"]:
        return False
    if owner["process"] == here["process"]:
        return True
    try:
        os.kill(owner["process"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


class Hold:
    """A file that this process makes or takes over, and then keeps writing until it lets go.

    Args:
      path: of the file.
      lost: is called, in a thread, with what the file holds when another process has taken it; nothing is written
        from then on.
    """

    def __init__(self, path: epath.Path, lost: Callable[[bytes], None]):
        self.path, self._lost = path, lost
        self._owner, self._version = this_process(), 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True, name=path.name)

    def take(self, version: int) -> bool:
        """Takes the file if it still has a version, 0: if there is none. Whether that was so."""
        if not self._write(version):
            return False
        self._thread.start()
        return True

    def let_go(self) -> None:
        """Ends what `take` began, and deletes the file if it is still this process's."""
        self._stop.set()
        self._thread.join()
        with contextlib.suppress(Exception):  # it counts as ended after a while anyway
            delete_if_unchanged(self.path, self._version)

    def _content(self) -> bytes:
        return f"{json.dumps(self._owner | {'written': secrets.token_hex(8)})}\n".encode()

    def _write(self, version: int) -> bool:
        """Writes the file if it has a version still; whether it had."""
        written = write_if_unchanged(self.path, self._content(), version)
        self._version = written or self._version
        return written is not None

    def _keep(self) -> None:
        while not self._stop.wait(BEAT):
            try:
                if self._write(self._version):
                    continue
                content = read_with_version(self.path)[0]
            except Exception as error:  # the next write may succeed; another process that holds it is noticed then
                logging.warning("%s could not be written: %s", self.path, " ".join(str(error).split())[:200])
                continue
            self._lost(content)
            return


class Lease:
    """Holds an object as the lock of a workdir in a bucket. A context manager.

    Raises:
      UserError: another run holds it (names its host, process and start), or the bucket cannot be written.
    """

    def __init__(self, path: epath.Path):
        self._path, self._hold = path, Hold(path, self._end)

    def __enter__(self) -> "Lease":
        try:
            self._acquire()
        except UserError:
            raise
        except Exception as error:  # of the client, of many kinds
            reason = " ".join(str(error).split())[:200]
            raise buckets.explain(error, self._path) or UserError(
                f"{self._path.parent} cannot be written ({reason}): choose another --workdir"
            ) from None
        return self

    def __exit__(self, *exc: Any) -> None:
        self._hold.let_go()

    def _acquire(self) -> None:
        content, version = read_with_version(self._path)
        if version and not has_ended(content):
            version = self._wait_for_end(content, version)
        if not self._hold.take(version):
            raise another_run(self._path.parent, read_with_version(self._path)[0])

    def _wait_for_end(self, content: bytes, version: int) -> int:
        """The object's version when it has not changed for LEASE seconds, 0 when it is gone.

        Raises:
          UserError: it has changed.
        """
        logging.warning(
            "%s: a run%s was not ended; looking up to %.0f s whether it works still",
            self._path.parent,
            describe(content),
            LEASE,
        )
        until = time.monotonic() + LEASE
        while time.monotonic() < until:
            time.sleep(POLL)
            now, changed = read_with_version(self._path)
            if not changed:
                return 0
            if changed != version:
                raise another_run(self._path.parent, now)
        return version

    def _end(self, content: bytes) -> None:
        """Ends the process, as another run has taken the lock: two would write into one workdir."""
        print(f"error: {another_run(self._path.parent, content)}", file=sys.stderr, flush=True)
        os._exit(2)
