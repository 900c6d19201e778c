"""Metrics and profiles of a training, for TensorBoard and for the report."""

import json
import os
import tempfile
from collections.abc import Mapping

import jax
from clu import metric_writers
from etils import epath

from ns_jax.buckets import is_bucket, upload
from ns_jax.parallel.hosts import is_process_zero
from ns_jax.report.curves import SCALARS

STEPS_BEFORE_PROFILE = 10  # after the start: the first steps compile


class ScalarWriter:
    """Writes scalars, on process 0, to TensorBoard event files and, a line a step, to scalars.jsonl beside them.

    The event files need TensorFlow to be read, the lines nothing. A training that continues from a checkpoint repeats
    some of its steps: `read_scalars` takes the last line of each.

    Args:
      folder: of both; on other processes nothing is written. Nothing can be appended to the objects of a bucket: both
        are written on this machine then, and uploaded by `flush`.
    """

    def __init__(self, folder: epath.Path):
        self._writer, self._lines = metric_writers.MultiWriter([]), None
        self._local = LocalCopy(folder)
        if is_process_zero():
            here = self._local.enter(SCALARS)
            self._writer = metric_writers.AsyncWriter(metric_writers.SummaryWriter(str(here)))
            here.mkdir(parents=True, exist_ok=True)
            self._lines = (here / SCALARS).open("a")

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes the scalars after `step` steps."""
        self._writer.write_scalars(step, scalars)
        if self._lines is not None:
            self._lines.write(json.dumps({"step": step, **scalars}) + "\n")
            self._lines.flush()

    def flush(self) -> None:
        """Uploads what is written, where the folder is in a bucket; before a checkpoint, so that no step is missing."""
        if self._lines is not None and self._local.is_needed:
            self._writer.flush()
            self._local.upload()

    def close(self) -> None:
        """Waits until all is written."""
        self._writer.close()
        if self._lines is not None:
            self._lines.close()
            self._local.upload()
            self._local.remove()


class LocalCopy:
    """A folder that writers need on this machine, for one that may be in a bucket.

    Attributes:
      is_needed: whether it is in a bucket; what is written otherwise goes straight into the folder.
    """

    def __init__(self, folder: epath.Path):
        self._folder, self.is_needed, self._temporary = folder, is_bucket(folder), None

    def enter(self, *names: str) -> epath.Path:
        """The folder to write into; the files called `names` are in it as they are in the bucket."""
        if not self.is_needed:
            return self._folder
        self._temporary = tempfile.TemporaryDirectory()
        here = epath.Path(self._temporary.name)
        for name in names:
            if (self._folder / name).exists():
                (here / name).write_bytes((self._folder / name).read_bytes())
        return here

    def upload(self) -> None:
        """Writes every file in the folder into the bucket."""
        if self._temporary is None:
            return
        for folder, _, names in os.walk(self._temporary.name):
            below = os.path.relpath(folder, self._temporary.name)
            for name in names:
                upload(os.path.join(folder, name), self._folder / below / name if below != "." else self._folder / name)

    def remove(self) -> None:
        """Deletes the folder on this machine, where there was one."""
        if self._temporary is not None:
            self._temporary.cleanup()


class StepProfile:
    """Traces a few training steps with jax's profiler, on process 0. A context manager.

    Not clu's periodic action, which leaves a trace open where the run ends first.

    Args:
      folder: of the event files; TensorBoard's profile plugin and Perfetto read what is written.
      num_steps: to trace; 0: none.
      start_step: steps done when this start of the run began.
      last_step: of the run; a short run is traced from its start.
    """

    def __init__(self, folder, num_steps: int, start_step: int, last_step: int):
        self._local, self._running = LocalCopy(folder), False
        self._first = max(start_step, min(start_step + STEPS_BEFORE_PROFILE, last_step - num_steps))
        self._last = self._first + num_steps
        self._wanted = num_steps > 0 and is_process_zero()

    def __enter__(self):
        return self

    def __call__(self, step: int) -> None:
        """Starts or ends the trace; call it before every step with the number of steps done."""
        if self._wanted and step == self._first:
            jax.profiler.start_trace(str(self._local.enter()))
            self._running = True
        elif self._running and step == self._last:
            self._stop()

    def _stop(self) -> None:
        jax.profiler.stop_trace()
        self._running = False
        self._local.upload()
        self._local.remove()

    def __exit__(self, *exc) -> None:
        if self._running:
            self._stop()
