"""WORKDIR/progress.json: how far a run is, for people and programs that look from outside.

{state, stage, stages_begun, done, total, unit, batches, host, process, started, written, error}. `stages_begun` and
`done` of one run can be compared over its restarts; `batches` counts what a stage without steps predicts, in this
start. A run that hangs does not write.
"""

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from typing import Any

from etils import epath

from ns_jax.errors import Stopped
from ns_jax.files import write_json

EVERY_SECONDS = 30.0  # between two writes
AT_LEAST_SECONDS = 2.0  # the same at a new stage: a restart goes through all that are done, and buckets limit writes

_open: "ProgressFile | None" = None


class ProgressFile:
    """What is known of the run of this process, and the file that says it."""

    def __init__(self, path: epath.Path):
        self.path, self.written_at = path, float("-inf")
        self.fields: dict[str, Any] = {
            "state": "running",
            "stage": "",
            "stages_begun": 0,
            "done": 0,
            "total": 0,
            "unit": "",
            "batches": 0,
            "host": socket.gethostname(),
            "process": os.getpid(),
            "started": _now(),
            "error": "",
        }

    def update(self, seconds: float, **fields: Any) -> None:
        """Takes new values, and writes the file where the last time is `seconds` ago."""
        self.fields.update(fields)
        if time.monotonic() - self.written_at < seconds:
            return
        # A run does not end because nobody could look at it: where nothing can be written, its own files say so.
        with contextlib.suppress(Exception):  # buckets raise many kinds
            write_json(self.path, self.fields | {"written": _now()})
        self.written_at = time.monotonic()


@contextlib.contextmanager
def progress_file(path: epath.Path) -> Iterator[None]:
    """Writes what this process reports to `path`, and at the end how the block ended. Of process 0 alone.

    Nothing is written of a run that ends before its first stage: it leaves the workdir as it was.
    """
    global _open
    _open = ProgressFile(path)
    ended = {"state": "done"}
    try:
        yield
    except Stopped:
        ended = {"state": "stopped"}
        raise
    except BaseException as error:
        ended = {"state": "failed", "error": (str(error) or type(error).__name__)[:1000]}
        raise
    finally:
        if _open.fields["stages_begun"]:
            _open.update(0, **ended)
        _open = None


def begin_stage(name: str) -> None:
    """Tells that a stage begins, such as 'iteration_1 train'."""
    if _open is not None:
        begun = _open.fields["stages_begun"] + 1
        _open.update(AT_LEAST_SECONDS, stage=name, stages_begun=begun, done=0, total=0, unit="", batches=0)


def report_steps(done: int, total: int, unit: str) -> None:
    """Tells how much of the stage is done, earlier starts of the run included."""
    if _open is not None:
        _open.update(EVERY_SECONDS, done=done, total=total, unit=unit)


def report_batch() -> None:
    """Tells that a batch of images is predicted."""
    if _open is not None:
        _open.update(EVERY_SECONDS, batches=_open.fields["batches"] + 1)


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %z")
