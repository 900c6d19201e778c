"""Barriers, sums and run-once helpers across processes.

They go through jax's coordination service and not through devices, so that who waits is told why: see coordination.py.
"""

import json
from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils

from ns_jax.errors import AgreedError, HostError, UserError
from ns_jax.parallel.coordination import ERROR, Coordination, current, join_values, split_values

# Of all hosts together: process 0 sends them to each of them. Above, rows go over the network of the devices.
MAX_BYTES_BY_SERVICE = 1 << 22
DISAGREED_SECONDS = 60.0


def is_process_zero() -> bool:
    """Whether this process writes what is written once."""
    return jax.process_index() == 0


def _hosts() -> Coordination | None:
    """The coordination with other processes; None where there are none."""
    hosts = current()
    return hosts if hosts is not None and hosts.count > 1 else None


def barrier(name: str) -> None:
    """Waits until every process is here.

    Raises:
      HostError: the run has failed on another host, or some have not come in time.
    """
    if hosts := _hosts():
        hosts.exchange(name, b"", lambda values: b"")


def sum_over_hosts(values: np.ndarray) -> np.ndarray:
    """Sums a NumPy array over the processes, in float64 or int64, exactly as given."""
    hosts = _hosts()
    return values if hosts is None else sum_over(hosts, values)


def sum_over(hosts: Coordination, values: np.ndarray) -> np.ndarray:
    """As `sum_over_hosts`, of given hosts."""

    def add(parts: list[bytes]) -> bytes:
        total = sum(np.frombuffer(part, values.dtype).reshape(values.shape) for part in parts)
        return json.dumps(total.dtype.str).encode() + b"\n" + total.tobytes()

    result = hosts.exchange(f"sum of {values.dtype}{list(values.shape)}", values.tobytes(), add)
    dtype, _, total = result.partition(b"\n")
    return np.frombuffer(total, np.dtype(json.loads(dtype))).reshape(values.shape)


def gather_rows(rows: np.ndarray) -> np.ndarray:
    """The rows of all processes, one process after the other, exactly as given: [sum of N, ...] of [N, ...] each."""
    hosts = _hosts()
    if hosts is None:
        return rows
    counts = gather_values(hosts, "count of rows", json.dumps(len(rows)).encode())
    counts = np.array([int(count) for count in counts])
    size = rows.itemsize * int(np.prod(rows.shape[1:], dtype=np.int64))
    if counts.sum() * size * len(counts) <= MAX_BYTES_BY_SERVICE:
        parts = gather_values(hosts, "rows", rows.tobytes())
        return np.concatenate([np.frombuffer(part, rows.dtype).reshape(-1, *rows.shape[1:]) for part in parts])
    padded = np.zeros((counts.max(), *rows.shape[1:]), rows.dtype)
    padded[: len(rows)] = rows
    # As bytes: without x64, jax would round 64-bit numbers.
    everywhere = multihost_utils.process_allgather(np.frombuffer(padded.tobytes(), np.uint8))
    parts = [np.frombuffer(part.tobytes(), rows.dtype).reshape(padded.shape) for part in everywhere]
    return np.concatenate([part[:count] for part, count in zip(parts, counts, strict=True)])


def gather_values(hosts: Coordination, what: str, value: bytes) -> list[bytes]:
    """What every process gives, in the order of processes."""
    return list(split_values(hosts.exchange(what, value, join_values)))


def verdict_of_process_zero(what: str, text: str, judge: Callable[[list[bytes]], str]) -> str:
    """What `judge` says on process 0 of the texts of all processes, given as UTF-8 in their order."""
    hosts = _hosts()
    if hosts is None:
        return judge([text.encode()])
    return hosts.exchange(what, text.encode(), lambda values: judge(values).encode()).decode()


def gather_texts(what: str, text: str) -> list[str]:
    """A short text of every process, in the order of processes."""
    hosts = _hosts()
    return [text] if hosts is None else [value.decode() for value in gather_values(hosts, what, text.encode())]


def on_process_zero(work: Callable, seconds: float | None = None):
    """Runs `work` on process 0 while the others wait; its UserError is raised on all of them.

    Args:
      work: without arguments.
      seconds: the others wait no longer; None: as the config says.

    Returns:
      What `work` returns on process 0, and None elsewhere.

    Raises:
      HostError: `work` raised anything else, or took too long.
    """
    hosts = _hosts()
    if hosts is None:
        return work()
    result, message = None, b""
    if hosts.process == 0:
        try:
            result = work()
        except UserError as error:
            message = str(error).encode()
    what = f"work of process 0 ({getattr(work, '__qualname__', work)})".replace(".<locals>.<lambda>", "")
    message = hosts.exchange(what, message, lambda values: values[0], seconds or hosts.time_outs.process_zero)
    if message:
        raise AgreedError(message.decode())
    return result


def process_zero_first(work: Callable):
    """Runs `work` on process 0, which may write files, and then on the others, which read them."""
    result = on_process_zero(work)
    return result if is_process_zero() else work()


def raised_by_all(error: UserError) -> bool:
    """Whether every host has an error at the same place, so that all can go on; False: the run must end with it."""
    hosts = _hosts()
    if hosts is None or isinstance(error, AgreedError):
        return True
    try:
        hosts.exchange(ERROR, str(error).encode(), lambda values: b"", DISAGREED_SECONDS)
    except HostError:
        hosts.raise_failure()
        return False
    return True
