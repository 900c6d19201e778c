"""One run at a time in a workdir in a bucket: an object that the run which holds it writes again and again.

It is made on the condition that there is none, and written on the condition that nobody else has. One that has not
changed for LEASE seconds is of a run that has ended; each waits by its own clock, so none of them needs to be right.
"""

import contextlib
import json
import os
import secrets
import socket
import sys
import threading
import time
from typing import Any

from absl import logging
from etils import epath

from ns_jax import buckets
from ns_jax.errors import UserError

BEAT = 15.0  # seconds between two writes
LEASE = 60.0  # seconds without a write after which a run counts as ended
POLL = 1.0


def this_process() -> dict[str, Any]:
    """{host, process, started}: what a lock says of the run that holds it."""
    started = time.strftime("%Y-%m-%d %H:%M:%S %z")
    return {"host": socket.gethostname(), "process": os.getpid(), "started": started}


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


def another_run(workdir: epath.Path, content: bytes) -> UserError:
    """The error of a workdir in which another run works, by what its lock says."""
    return UserError(
        f"another run works in {workdir}{describe(content)}: wait for its end, or choose another --workdir"
    )


def has_ended(content: bytes) -> bool:
    """Whether a lock is of a process of this host that is there no more, or that this one has replaced."""
    owner = _owner(content)
    if owner.get("host") != socket.gethostname() or not isinstance(owner.get("process"), int):
        return False
    if owner["process"] == os.getpid():
        return True
    try:
        os.kill(owner["process"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


class Lease:
    """Holds an object as the lock of a workdir. A context manager.

    Raises:
      UserError: another run holds it (names its host, process and start), or the bucket cannot be written.
    """

    def __init__(self, path: epath.Path):
        self._path, self._owner, self._generation = path, this_process(), 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True, name="run.lock")

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
        self._thread.start()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._stop.set()
        self._thread.join()
        with contextlib.suppress(Exception):  # it counts as ended after a while anyway
            buckets.delete_if_unchanged(self._path, self._generation)

    def _content(self) -> bytes:
        return f"{json.dumps(self._owner | {'written': secrets.token_hex(8)})}\n".encode()

    def _write(self, generation: int) -> bool:
        """Writes the object if it has a generation still; whether it had."""
        written = buckets.write_if_unchanged(self._path, self._content(), generation)
        self._generation = written or self._generation
        return written is not None

    def _acquire(self) -> None:
        content, generation = buckets.read_with_generation(self._path)
        if generation and not has_ended(content):
            generation = self._wait_for_end(content, generation)
        if not self._write(generation):
            raise another_run(self._path.parent, buckets.read_with_generation(self._path)[0])

    def _wait_for_end(self, content: bytes, generation: int) -> int:
        """The object's generation when it has not changed for LEASE seconds, 0 when it is gone.

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
            now, changed = buckets.read_with_generation(self._path)
            if not changed:
                return 0
            if changed != generation:
                raise another_run(self._path.parent, now)
        return generation

    def _keep(self) -> None:
        """Writes the object until the end of the run. Ends the process where another run has taken it."""
        while not self._stop.wait(BEAT):
            try:
                if self._write(self._generation):
                    continue
                content = buckets.read_with_generation(self._path)[0]
            except Exception as error:  # the next write may succeed; a run that holds it meanwhile is noticed then
                logging.warning("%s could not be written: %s", self._path, " ".join(str(error).split())[:200])
                continue
            # At once: two runs would write into one workdir.
            print(f"error: {another_run(self._path.parent, content)}", file=sys.stderr, flush=True)
            os._exit(2)
