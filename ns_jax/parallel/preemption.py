"""SIGTERM: of a scheduler or a cloud that takes the machine back, or of a person."""

import contextlib
import itertools
import signal
import threading
import time
from collections.abc import Iterator

import jax
from jax.experimental import multihost_utils

from ns_jax.parallel.coordination import current

ASK_EVERY_SECONDS = 1.0

_received = threading.Event()  # by this process alone; between processes jax keeps count
# Steps begin anew with every training, but jax compares for equality with a number that it never forgets.
_calls = itertools.count(1)
_asked_at = float("-inf")


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


def must_stop(together: bool = True) -> bool:
    """Whether a host has had a SIGTERM.

    Args:
      together: all hosts call it equally often, and get True at the same call. Else each may call it at any time, and
        gets True about a second after the signal: they have to agree before they do something together again.
    """
    if not jax.distributed.is_initialized():
        return _received.is_set()
    if together:
        return multihost_utils.reached_preemption_sync_point(next(_calls))
    return _received.is_set() or _ask()


def _ask() -> bool:
    """Asks process 0, at most once a second."""
    global _asked_at
    now, hosts = time.monotonic(), current()
    if hosts is None or now - _asked_at < ASK_EVERY_SECONDS:
        return False
    _asked_at = now
    if hosts.has_sigterm():
        _received.set()
    return _received.is_set()
