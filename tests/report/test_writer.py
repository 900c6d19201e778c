"""The profiler's trace of a few training steps."""

import jax.numpy as jnp
import pytest

from ns_jax.report.writer import StepProfile


def traced_steps(monkeypatch, num_steps: int, start: int, last: int) -> list[int]:
    """The steps during which the profiler ran."""
    running, steps = [], []
    monkeypatch.setattr("jax.profiler.start_trace", lambda folder: running.append(folder))
    monkeypatch.setattr("jax.profiler.stop_trace", lambda: running.clear())
    with StepProfile("logs", num_steps, start, last) as profile:
        for step in range(start, last):
            profile(step)
            if running:
                steps.append(step)
    assert not running
    return steps


@pytest.mark.parametrize(
    ("num_steps", "start", "last", "want"),
    [
        (0, 0, 50, []),
        (3, 0, 50, [10, 11, 12]),  # the first ten steps compile and warm up
        (3, 20, 50, [30, 31, 32]),  # a run that was resumed
        (3, 0, 5, [2, 3, 4]),  # the last of a short run
        (9, 0, 5, [0, 1, 2, 3, 4]),  # and all of a very short one
    ],
)
def test_which_steps_are_traced(monkeypatch, num_steps, start, last, want):
    assert traced_steps(monkeypatch, num_steps, start, last) == want


def test_a_trace_is_written(tmp_path):
    with StepProfile(tmp_path, 1, 0, 3) as profile:
        for step in range(3):
            profile(step)
            jnp.ones(3).sum().block_until_ready()
    assert list(tmp_path.rglob("*.xplane.pb"))
