"""Metrics and profiles of a training, for TensorBoard."""

import jax
from clu import metric_writers

from ns_jax.parallel.hosts import is_process_zero

STEPS_BEFORE_PROFILE = 10  # after the start: the first steps compile


def create_writer(folder) -> metric_writers.MetricWriter:
    """A writer of TensorBoard event files on process 0, of nothing elsewhere."""
    if not is_process_zero():
        return metric_writers.MultiWriter([])
    return metric_writers.AsyncWriter(metric_writers.SummaryWriter(str(folder)))


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
