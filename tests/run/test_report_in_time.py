"""A report that takes too long, or fails, and the end of a run."""

import threading
import time

import pytest

from ns_jax.errors import UserError
from ns_jax.run.orchestrate import call_in_time


def test_a_report_that_takes_too_long_is_left(capsys):
    release = threading.Event()
    begun = time.monotonic()
    call_in_time(release.wait, 0.2, "report")
    assert time.monotonic() - begun < 5
    assert capsys.readouterr().out == (
        "report: not done after 0 s (timeouts.report_seconds); start again to write it\n"
    )
    release.set()


def test_what_it_raises_in_time_is_raised():
    def fail():
        raise UserError("no disk")

    with pytest.raises(UserError, match="no disk"):
        call_in_time(fail, 10, "report")
