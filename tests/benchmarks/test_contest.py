"""The contest itself: real processes, which sum numbers."""

import sys

import pytest

from benchmarks.contest import contest, table_rows

SUM = "import sys; from benchmarks.contest import serve; print('noise'); serve(lambda: sum(range({count})))"
TIMED = "from benchmarks.contest import serve; serve(lambda: 0.25, times_itself=True)"


def test_contestants_take_turns():
    commands = {
        "short": [sys.executable, "-c", SUM.format(count=1_000)],
        "long": [sys.executable, "-c", SUM.format(count=1_000_000)],
        "timed": [sys.executable, "-c", TIMED],
    }
    seconds = contest(commands, rounds=3, threads=1, turn_seconds=0.02)
    assert {name: len(times) for name, times in seconds.items()} == {"short": 3, "long": 3, "timed": 3}
    assert max(seconds["short"]) < min(seconds["long"]) and seconds["timed"] == [0.25] * 3


def test_a_contestant_that_fails_is_named():
    with pytest.raises(RuntimeError, match="ended with status 3"):
        contest({"broken": [sys.executable, "-c", "import sys; sys.exit(3)"]}, rounds=1, threads=1)


def test_ratios_are_of_the_same_round():
    rows = table_rows({"a": [1.0, 2.0, 4.0], "b": [2.0, 4.0, 8.0]}, items=8, first="a")
    assert rows == [["a", "4.0", "2.0 to 8.0", "1.00"], ["b", "2.0", "1.0 to 4.0", "2.00"]]
