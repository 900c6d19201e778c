"""Metrics and profiles of a training, for TensorBoard and for the report."""

import json
from collections.abc import Mapping

import jax
from clu import metric_writers
from etils import epath

from ns_jax.parallel.hosts import is_process_zero
from ns_jax.report.curves import SCALARS

STEPS_BEFORE_PROFILE = 10  # after the start: the first steps compile


class ScalarWriter:
    """Writes scalars, on process 0, to TensorBoard event files and, a line a step, to scalars.jsonl beside them.

    The event files need TensorFlow to be read, the lines nothing. A training that continues from a checkpoint repeats
    some of its steps: `read_scalars` takes the last line of each.

    Args:
      folder: of both; on other processes nothing is written.
    """

    def __init__(self, folder: epath.Path):
        self._writer, self._lines = metric_writers.MultiWriter([]), None
        if is_process_zero():
            self._writer = metric_writers.AsyncWriter(metric_writers.SummaryWriter(str(folder)))
            folder.mkdir(parents=True, exist_ok=True)
            self._lines = (folder / SCALARS).open("a")

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes the scalars after `step` steps."""
        self._writer.write_scalars(step, scalars)
        if self._lines is not None:
            self._lines.write(json.dumps({"step": step, **scalars}) + "\n")
            self._lines.flush()

    def close(self) -> None:
        """Waits until all is written."""
        self._writer.close()
        if self._lines is not None:
            self._lines.close()


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
        self._folder, self._running = folder, False
        self._first = max(start_step, min(start_step + STEPS_BEFORE_PROFILE, last_step - num_steps))
        self._last = self._first + num_steps
        self._wanted = num_steps > 0 and is_process_zero()

    def __enter__(self):
        return self

    def __call__(self, step: int) -> None:
        """Starts or ends the trace; call it before every step with the number of steps done."""
        if self._wanted and step == self._first:
            jax.profiler.start_trace(str(self._folder))
            self._running = True
        elif self._running and step == self._last:
            self._stop()

    def _stop(self) -> None:
        jax.profiler.stop_trace()
        self._running = False

    def __exit__(self, *exc) -> None:
        if self._running:
            self._stop()
