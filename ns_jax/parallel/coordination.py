"""What hosts tell each other through jax's coordination service: process 0 keeps it, and no device takes part.

Only place that uses the service's client, which jax has no public name for (jax 0.10).
"""

import dataclasses
import json
import math
import socket
import time
from collections.abc import Callable, Iterator

import jax

from ns_jax.errors import HostError

SLICE_SECONDS = 1.0  # a wait looks so often whether another host has failed
MARGIN_SECONDS = 10.0  # process 0 tells of a time-out; the others say it themselves so much later
PREFIX = "ns_jax"
SIGTERM_KEY = "RECEIVED_PREEMPTION_NOTICE"  # jax writes it when a process has had a SIGTERM (jax 0.10)
ERROR = "an error"  # where hosts are that had one


@dataclasses.dataclass(frozen=True)
class TimeOuts:
    """How long hosts wait for each other, seconds.

    Attributes:
      join: until all have started.
      silence: a host of which nothing was heard for so long ends the run.
      barrier: between the first and the last host at a barrier.
      process_zero: while process 0 works alone.
      report: while process 0 writes the report.
      shutdown: until all have ended.
    """

    join: float = 300.0
    silence: float = 60.0
    barrier: float = 1800.0
    process_zero: float = 172800.0
    report: float = 900.0
    shutdown: float = 300.0


class Coordination:
    """A process's place among the others. All processes call its methods in the same order, in one thread each.

    Args:
      client: of the coordination service.
      process: number of this one.
      count: of processes.
      time_outs: see there.
      host: name of this one's machine; None: asked of the system.
    """

    def __init__(self, client, process: int, count: int, time_outs: TimeOuts | None = None, host: str | None = None):
        self.client, self.process, self.count = client, process, count
        self.time_outs = time_outs or TimeOuts()
        self.silent: set[int] = set()  # processes that are gone, as process 0 sees it
        self._call = 0
        client.key_value_set(f"{PREFIX}/host/{process}", host or socket.gethostname(), True)

    # --- Names ---------------------------------------------------------------------------------------

    def name(self, process: int) -> str:
        """'HOST (process P)'."""
        host = self._try_get(f"{PREFIX}/host/{process}")
        return f"{host} (process {process})" if host else f"process {process}"

    def names(self, processes: list[int], most: int = 8) -> str:
        """The names of some processes; of many, the first `most` and how many more."""
        shown = ", ".join(self.name(process) for process in processes[:most])
        return shown + (f" and {len(processes) - most} more" if len(processes) > most else "")

    # --- Failures ------------------------------------------------------------------------------------

    def report_failure(self, line: str, code: int) -> tuple[str, int]:
        """Tells all hosts why the run ends. Returns the line and exit code of whichever host was first."""
        try:
            self.client.key_value_set(f"{PREFIX}/failure", json.dumps([line, code]))
        except jax.errors.JaxRuntimeError:  # there is one already, or process 0 has gone
            return self.failure() or (line, code)
        return line, code

    def failure(self) -> tuple[str, int] | None:
        """The line and exit code with which the run ends, if it does."""
        text = self._try_get(f"{PREFIX}/failure")
        if not text:
            return None
        line, code = json.loads(text)
        return line, code

    def raise_failure(self) -> None:
        """Raises HostError if the run has failed."""
        if failure := self.failure():
            raise HostError(*failure)

    def has_sigterm(self) -> bool:
        """Whether a process has had a SIGTERM."""
        return bool(self._try_get(SIGTERM_KEY))

    # --- Exchanges -----------------------------------------------------------------------------------

    def exchange(
        self, what: str, value: bytes, combine: Callable[[list[bytes]], bytes], seconds: float | None = None
    ) -> bytes:
        """Gives the values of all hosts to `combine` on process 0, and what that makes of them to all hosts.

        Args:
          what: is waited for, for messages; the same on all hosts.
          value: of this host.
          combine: values in the order of processes to a result; called on process 0.
          seconds: waits no longer for process 0; None: `time_outs.barrier`, which holds for the others.

        Raises:
          HostError: the run has failed, or a host did not come in time (names those), or is at another place.
        """
        seconds = self.time_outs.barrier if seconds is None else seconds
        self._call += 1
        folder = f"{PREFIX}/call/{self._call}"
        if self.process == 0:
            return self._collect(folder, what, value, combine, min(seconds, self.time_outs.barrier))
        return self._send(folder, what, value, seconds)

    def _collect(self, folder: str, what: str, value: bytes, combine: Callable, seconds: float) -> bytes:
        deadline = time.monotonic() + seconds
        values = [value]
        for process in range(1, self.count):
            sent = self._wait(f"{folder}/from/{process}", deadline)
            if sent is None:
                self._end_of_time(folder, what, seconds)
            place, own = _unpack(sent)
            if place != what:
                reason = own.decode()[:300] if place == ERROR else "it ran other code, or read other files"
                raise HostError(f"{self.name(process)} is at {place!r} while process 0 is at {what!r}: {reason}")
            values.append(own)
        result = combine(values)
        self.client.key_value_set_bytes(f"{folder}/to_all", result)
        if self._call > 1:  # all have answered this call, and so have read the one before
            self.client.key_value_delete(f"{PREFIX}/call/{self._call - 1}/")
        return result

    def _send(self, folder: str, what: str, value: bytes, seconds: float) -> bytes:
        self._reach(lambda: self.client.key_value_set_bytes(f"{folder}/from/{self.process}", _pack(what, value)))
        result = self._wait(f"{folder}/to_all", time.monotonic() + seconds + MARGIN_SECONDS)
        if result is None:
            self._end_of_time(folder, what, seconds)
        return result

    def _end_of_time(self, folder: str, what: str, seconds: float) -> None:
        """Raises HostError, which names the processes that have not arrived."""
        arrived = {int(key.rpartition("/")[2]) for key, _ in self._directory(f"{folder}/from/")}
        missing = [process for process in range(1, self.count) if process not in arrived] or [0]
        raise HostError(
            f"{self.names(missing)} did not come to {what!r} within {seconds:.0f} s (timeouts): look at what it does "
            "there (py-spy dump), at its log and disks; then start all again"
        )

    # --- A number that process 0 tells, for later ------------------------------------------------------

    def tell(self, key: str, value: str) -> None:
        """Process 0: leaves a value for `hear`."""
        self._reach(lambda: self.client.key_value_set(f"{PREFIX}/told/{key}", value))

    def hear(self, key: str) -> str:
        """What process 0 told under a key: at once where it did so already."""
        deadline = time.monotonic() + self.time_outs.barrier
        value = self._wait(f"{PREFIX}/told/{key}", deadline, as_text=True)
        if value is None:
            raise HostError(f"{self.name(0)} did not tell {key!r} within {self.time_outs.barrier:.0f} s: start again")
        return value

    def forget(self, key: str) -> None:
        """Process 0: deletes what it told under a key."""
        self._reach(lambda: self.client.key_value_delete(f"{PREFIX}/told/{key}"))

    # --- The client ------------------------------------------------------------------------------------

    def _wait(self, key: str, deadline: float, as_text: bool = False):
        """The value of a key; None at the deadline. Raises HostError as soon as the run has failed."""
        get = self.client.blocking_key_value_get if as_text else self.client.blocking_key_value_get_bytes
        while True:
            left = deadline - time.monotonic()
            try:
                return get(key, max(1, math.ceil(1000 * min(left, SLICE_SECONDS))))
            except jax.errors.JaxRuntimeError as error:
                self.raise_failure()
                if "DEADLINE_EXCEEDED" not in str(error):
                    raise self._unreachable(error) from None
                if left <= SLICE_SECONDS:
                    return None

    def _reach(self, call: Callable) -> None:
        try:
            call()
        except jax.errors.JaxRuntimeError as error:
            self.raise_failure()
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> HostError:
        reason = str(error).splitlines()[0][:200]
        return HostError(f"process 0 does not answer process {self.process} ({reason}): look at its log; start again")

    def _try_get(self, key: str) -> str:
        try:
            return self.client.key_value_try_get(key)
        except jax.errors.JaxRuntimeError:
            return ""

    def _directory(self, folder: str) -> list[tuple[str, bytes]]:
        try:
            return self.client.key_value_dir_get_bytes(folder)
        except jax.errors.JaxRuntimeError:
            return []

    # --- Signs of life ---------------------------------------------------------------------------------

    def show_life(self, count: int) -> None:
        """Tells process 0 that this one lives: a number that is another one each time."""
        self.client.key_value_set(f"{PREFIX}/alive/{self.process}", str(count), True)

    def signs_of_life(self) -> dict[int, str]:
        """What each process has last shown."""
        signs = self.client.key_value_dir_get(f"{PREFIX}/alive/")
        return {int(key.rpartition("/")[2]): value for key, value in signs}

    def say_goodbye(self) -> None:
        """Tells process 0 that this one ends now."""
        self.client.key_value_set(f"{PREFIX}/ended/{self.process}", "", True)

    def num_ended(self) -> int:
        """How many processes have said goodbye."""
        return len(self._directory(f"{PREFIX}/ended/"))


def _pack(what: str, value: bytes) -> bytes:
    return json.dumps(what).encode() + b"\n" + value


def _unpack(data: bytes) -> tuple[str, bytes]:
    name, _, value = data.partition(b"\n")
    return json.loads(name), value


def join_values(values: list[bytes]) -> bytes:
    """Several values as one, for `combine`; see `split_values`."""
    lengths = json.dumps([len(value) for value in values]).encode()
    return lengths + b"\n" + b"".join(values)


def split_values(data: bytes) -> Iterator[bytes]:
    """Yields the values of `join_values`."""
    lengths, _, rest = data.partition(b"\n")
    begin = 0
    for length in json.loads(lengths):
        yield rest[begin : begin + length]
        begin += length


# --- Of this process ---------------------------------------------------------------------------------

_current: Coordination | None = None


def current() -> Coordination | None:
    """Of this process; None where it is alone."""
    return _current


def start_coordination(time_outs: TimeOuts) -> Coordination:
    """After jax.distributed.initialize: the coordination of this process."""
    global _current
    from jax._src import distributed

    state = distributed.global_state
    _current = Coordination(state.client, state.process_id, state.num_processes, time_outs)
    return _current
