"""When training saves a checkpoint: every so many steps, and when the last one is old.

All hosts save after the same step. Clocks differ, so process 0 decides: every AHEAD steps it tells whether to save
AHEAD steps later. No host is more than a few steps ahead of another, as each step needs all of them, so that who asks
has its answer at once, and no device waits.
"""

import time

from ns_jax.parallel.coordination import Coordination, current

AHEAD = 16  # steps; more than are in flight, and than those by which hosts are apart


class SaveTimes:
    """Whether to save after a step. All hosts ask after every step.

    Args:
      every_steps: save after its multiples.
      every_seconds: and when the last save is so old.
      start_step: of this start of the training.
      hosts: the coordination with others; None: that of this process.
    """

    _trainings = 0

    def __init__(self, every_steps: int, every_seconds: float, start_step: int, hosts: Coordination | None = None):
        SaveTimes._trainings += 1
        self._every_steps, self._every_seconds = every_steps, every_seconds
        self._hosts = hosts or current()
        self._first, self._name = start_step, f"save/{SaveTimes._trainings}"
        self._last = time.monotonic()

    def __call__(self, step: int) -> bool:
        """Whether to save after `step`, the same on all hosts."""
        by_steps = step % self._every_steps == 0
        return self._by_time(step) or by_steps

    def saved(self) -> None:
        """A checkpoint was saved, for whatever reason."""
        self._last = time.monotonic()

    def _by_time(self, step: int) -> bool:
        is_old = time.monotonic() - self._last > self._every_seconds
        if self._hosts is None or self._hosts.count == 1:
            return is_old
        place, hosts = step - self._first, self._hosts
        if place % AHEAD:
            return False
        now = place > AHEAD and hosts.hear(f"{self._name}/{place}") == "save"
        if hosts.process == 0:
            hosts.tell(f"{self._name}/{place + AHEAD}", "save" if is_old and not now else "no")
            if place > 2 * AHEAD:  # all are past it
                hosts.forget(f"{self._name}/{place - AHEAD}")
        return now
