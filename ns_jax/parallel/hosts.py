"""Barriers, sums and run-once helpers across processes."""

from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils

from ns_jax.errors import UserError

MESSAGE_BYTES = 2048  # of an error that process 0 shares


def is_process_zero() -> bool:
    """Whether this process writes what is written once."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Waits until every process is here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def sum_over_hosts(values: np.ndarray) -> np.ndarray:
    """Sums a NumPy array over the processes, in float64 or int64, exactly as given."""
    if jax.process_count() == 1:
        return values
    # As bytes: without x64, jax would round 64-bit numbers.
    everywhere = multihost_utils.process_allgather(np.frombuffer(values.tobytes(), np.uint8))
    return sum(np.frombuffer(part.tobytes(), values.dtype).reshape(values.shape) for part in everywhere)


def gather_rows(rows: np.ndarray) -> np.ndarray:
    """The rows of all processes, one process after the other, exactly as given: [sum of N, ...] of [N, ...] each."""
    if jax.process_count() == 1:
        return rows
    counts = multihost_utils.process_allgather(np.array([len(rows)], np.int32))[:, 0]
    padded = np.zeros((counts.max(), *rows.shape[1:]), rows.dtype)
    padded[: len(rows)] = rows
    everywhere = multihost_utils.process_allgather(np.frombuffer(padded.tobytes(), np.uint8))  # as bytes, see above
    parts = [np.frombuffer(part.tobytes(), rows.dtype).reshape(padded.shape) for part in everywhere]
    return np.concatenate([part[:count] for part, count in zip(parts, counts, strict=True)])


def on_process_zero(work: Callable):
    """Runs `work` on process 0 while the others wait; its UserError is raised on all of them.

    Returns what `work` returns on process 0, and None elsewhere.
    """
    result, message = None, b""
    if is_process_zero():
        try:
            result = work()
        except UserError as error:
            message = str(error).encode()[:MESSAGE_BYTES]
    if jax.process_count() > 1:
        padded = np.zeros(MESSAGE_BYTES, np.uint8)
        padded[: len(message)] = np.frombuffer(message, np.uint8)
        message = bytes(multihost_utils.broadcast_one_to_all(padded).tobytes()).rstrip(b"\0")
    if message:
        raise UserError(message.decode(errors="replace"))
    return result


def process_zero_first(work: Callable):
    """Runs `work` on process 0, which may write files, and then on the others, which read them."""
    result = on_process_zero(work)
    return result if is_process_zero() else work()
