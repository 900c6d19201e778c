"""Times contestants turn by turn, so that whatever else the machine does meets all of them alike.

Each contestant is a process of its own that builds its work once, and then does it for a turn (a second)
per line that it reads; the others sleep meanwhile.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

TURN_SECONDS = 1.0  # at least one piece of work
TURN_VARIABLE = "CONTEST_TURN_SECONDS"  # tells contestants another length of a turn


class Contestant:
    """A process that runs `command` on `threads` cores, on CPU alone, and speaks through `serve`."""

    def __init__(self, command: Sequence[str], threads: int, turn_seconds: float):
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "OMP_NUM_THREADS": str(threads),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            TURN_VARIABLE: str(turn_seconds),
        }
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[:threads])  # which the process inherits
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        os.sched_setaffinity(0, cores)

    def answer(self) -> str:
        """Waits for the next line of `serve`; what else the process prints is left out."""
        for line in self.process.stdout:
            if line.startswith("contest "):
                return line.removeprefix("contest ").strip()
        raise RuntimeError(f"{self.process.args} ended with status {self.process.wait()}")

    def go(self) -> float:
        """Lets the process work for a turn. Returns the seconds of one piece of work, the mean over the turn."""
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return float(self.answer())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def serve(work: Callable[[], object], times_itself: bool = False) -> None:
    """Warms up, then runs `work` for about a turn at each line of standard input: the contestant's side.

    Args:
      work: one piece of work.
      times_itself: `work` returns the seconds that count; what it returns otherwise is not looked at.
    """

    def timed() -> float:
        start = time.perf_counter()
        result = work()
        return result if times_itself else time.perf_counter() - start

    timed()
    repeats = max(1, round(float(os.environ.get(TURN_VARIABLE, TURN_SECONDS)) / timed()))
    print("contest ready", flush=True)
    for _ in sys.stdin:
        print(f"contest {sum(timed() for _ in range(repeats)) / repeats}", flush=True)


def contest(
    commands: dict[str, Sequence[str]], rounds: int, threads: int, turn_seconds: float = TURN_SECONDS
) -> dict[str, list[float]]:
    """Builds the contestants one after the other, then lets them take turns.

    Args:
      commands: {name: command line of the contestant's process}.
      rounds: turns of each.
      threads: cores of each.
      turn_seconds: length of a turn.

    Returns:
      {name: seconds of one piece of work, a number a round}.
    """
    contestants: dict[str, Contestant] = {}
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    try:
        for name, command in commands.items():
            contestants[name] = Contestant(command, threads, turn_seconds)
            contestants[name].answer()
        for _ in range(rounds):
            for name, contestant in contestants.items():
                seconds[name].append(contestant.go())
    finally:
        for contestant in contestants.values():
            contestant.close()
    return seconds


def table_rows(seconds: dict[str, list[float]], items: int, first: str) -> list[list[str]]:
    """Makes the rows of a table from the seconds of a contest.

    Args:
      seconds: of `contest`, two rounds or more.
      items: images in one piece of work.
      first: name of the contestant that the others are compared with.

    Returns:
      Per contestant: name, items per second (median; low and high quartile), and how many times `first` is faster.
      That ratio is the median over rounds, so that both halves of a ratio come from the same moment.
    """
    rows = []
    for name, times in seconds.items():
        low, middle, high = statistics.quantiles(times, n=4)
        ratio = statistics.median(own / reference for own, reference in zip(times, seconds[first], strict=True))
        rows.append([name, f"{items / middle:.1f}", f"{items / high:.1f} to {items / low:.1f}", f"{ratio:.2f}"])
    return rows
