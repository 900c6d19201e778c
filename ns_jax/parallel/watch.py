"""A run on several hosts ends as soon as one of them fails, or is silent, whatever the others wait for.

Two threads: one shows that this host lives and asks whether the run has failed; the other ends the process where the
first one cannot reach process 0 any more.
"""

import os
import sys
import threading
import time

import jax

from ns_jax.errors import AgreedError, HostError, UserError
from ns_jax.parallel.coordination import Coordination

GRACE_SECONDS = 5.0  # for the main thread to end by itself
LAST_SECONDS = 15.0  # process 0 outlives the others, as their connection to it is what they live by
_ending, _printed = threading.Lock(), threading.Event()


class Watch:
    """Watches over the hosts of a run from the beginning to the end of the process.

    Args:
      hosts: the coordination of this process.
    """

    def __init__(self, hosts: Coordination):
        self._hosts, self._silence = hosts, hosts.time_outs.silence
        self._every = min(2.0, self._silence / 10)
        self._reached = time.monotonic()
        self._stop = threading.Event()

    def start(self) -> None:
        """Begins to watch."""
        for target in (self._talk, self._time):
            threading.Thread(target=target, name=f"watch {target.__name__}", daemon=True).start()

    def stop(self) -> None:
        """Ends it: from here on hosts leave, each when it is done."""
        self._stop.set()

    def _talk(self) -> None:
        seen: dict[int, tuple[str, float]] = {}  # what each host has last shown, and since when
        count = 0
        while not self._stop.wait(self._every):
            count += 1
            try:
                self._hosts.show_life(count)
                if failure := self._hosts.failure():
                    self._end_after_grace(*failure)
                    return
                if self._hosts.process == 0:
                    self._look(seen)
            except jax.errors.JaxRuntimeError:  # the other thread counts how long this lasts
                continue
            self._reached = time.monotonic()

    def _look(self, seen: dict[int, tuple[str, float]]) -> None:
        """Process 0: ends the run where a host is silent."""
        now, signs = time.monotonic(), self._hosts.signs_of_life()
        if now - self._reached > self._silence / 2:  # this one stood still itself: the others get their time again
            seen.clear()
        for process in range(self._hosts.count):
            sign = signs.get(process, "")
            if process not in seen or seen[process][0] != sign:
                seen[process] = sign, now
        silent = [process for process, (_, since) in seen.items() if now - since > self._silence]
        if silent and not self._stop.is_set():
            line = (
                f"nothing was heard of {self._hosts.names(silent)} for {self._silence:.0f} s: its machine or process "
                "is gone or stands still; start all again to continue"
            )
            self._hosts.silent |= set(silent)
            self._end_after_grace(*self._hosts.report_failure(line, 1))

    def _time(self) -> None:
        last = time.monotonic()
        while not self._stop.wait(self._every):
            now = time.monotonic()
            stood_still, last = now - last > self._silence / 2, now
            if stood_still:  # it may be that nobody has missed it
                time.sleep(2 * self._every + GRACE_SECONDS)
            if time.monotonic() - self._reached > self._silence and not self._stop.is_set():
                what = f"process 0 was not reached for {self._silence:.0f} s"
                if stood_still:
                    what = f"this host stood still for more than {self._silence / 2:.0f} s, and the others have gone"
                end(f"process {self._hosts.process}: {what}; start all again to continue", 1)

    def _end_after_grace(self, line: str, code: int) -> None:
        time.sleep(GRACE_SECONDS)
        end_together(self._hosts, line, code)


def end_together(hosts: Coordination, line: str, code: int) -> None:
    """Ends the process with the line that all hosts print, process 0 after the others."""
    with _ending:  # the main thread and the watch may both come here
        threading.Thread(target=_end_in_time, args=(line, code), daemon=True).start()
        try:
            line, code = hosts.report_failure(line, code)
            hosts.say_goodbye()
            _print(line)
            until = time.monotonic() + LAST_SECONDS
            expected = hosts.count - len(hosts.silent)
            while hosts.process == 0 and hosts.num_ended() < expected and time.monotonic() < until:
                time.sleep(0.1)
            # The others are about to leave when they have said so.
            time.sleep(0.5 if hosts.process == 0 else 0)
        finally:
            _print(line)
            os._exit(code)


def _end_in_time(line: str, code: int) -> None:
    """Ends the process where process 0 does not answer."""
    time.sleep(LAST_SECONDS + GRACE_SECONDS)
    _print(line)
    os._exit(code)


def end(line: str, code: int) -> None:
    """Ends the process with a line of its own."""
    with _ending:
        _print(line)
        os._exit(code)


def _print(line: str) -> None:
    """Prints the one line, once."""
    if not _printed.is_set():
        _printed.set()
        print(f"error: {line}", file=sys.stderr, flush=True)
        sys.stdout.flush()


def describe(hosts: Coordination, error: BaseException) -> tuple[str, int]:
    """The line and the exit code of an error of this host."""
    if isinstance(error, HostError):
        return str(error), error.code
    text = " ".join(str(error).split())
    if isinstance(error, AgreedError):
        return text, 2
    if isinstance(error, UserError):
        return f"{hosts.name(hosts.process)}: {text}", 2
    text = text if len(text) <= 500 else f"{text[:300]} ... {text[-190:]}"
    return f"{hosts.name(hosts.process)}: {type(error).__name__}: {text}", 1
