"""SIGTERM: of a scheduler or a cloud that takes the machine back, or of a person."""

import contextlib
import itertools
import signal
import threading
from collections.abc import Iterator

import jax
from jax.experimental import multihost_utils

_received = threading.Event()  # by this process alone; between processes jax keeps count
# Steps begin anew with every training, but jax compares for equality with a number that it never forgets.
_calls = itertools.count(1)


@contextlib.contextmanager
def sigterm_held_back() -> Iterator[None]:
    """SIGTERM waits for the next `must_stop`; a second one ends the process at once.

    Under `jax.distributed` that is so from its start to the end of the process, on all hosts.
    """
    if jax.distributed.is_initialized():
        yield
        return

    def receive(*_):
        _received.set()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    before = signal.signal(signal.SIGTERM, receive)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def must_stop() -> bool:
    """Whether a host has had a SIGTERM. All hosts call it equally often, and get True at the same call."""
    if jax.distributed.is_initialized():
        return multihost_utils.reached_preemption_sync_point(next(_calls))
    return _received.is_set()
