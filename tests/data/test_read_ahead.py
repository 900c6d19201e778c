"""What is read ahead is what was asked for, read once and in order, and not too much of it is held."""

import concurrent.futures
import threading
import time

import numpy as np
import pytest

from ns_jax.data import read_ahead
from ns_jax.data.read_ahead import ReadAhead
from ns_jax.errors import UserError


class Records:
    """Gives a number and bytes for each index, and notes what was read."""

    def __init__(self):
        self.read_indices, self.lock = [], threading.Lock()

    def __call__(self, indices):
        with self.lock:
            self.read_indices.append(indices.tolist())
        return np.array([b"%d" % index for index in indices], object), (indices * 2).astype(np.int32)


def groups(rng, number=6):
    return [rng.integers(0, 40, 30) for _ in range(number)]


def test_columns_are_those_of_the_indices_in_the_order_in_which_they_are_asked_for(monkeypatch):
    monkeypatch.setattr(read_ahead, "TOGETHER", 8)
    rng, records = np.random.default_rng(0), Records()
    foretold = groups(rng)
    ahead = ReadAhead(records, iter(foretold), most=40)
    calls = [part for group in foretold for part in np.split(rng.permutation(group), 6)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:  # as the input's threads do, not quite in order
        results = list(pool.map(ahead, calls))
    for indices, (content, label) in zip(calls, results, strict=True):
        assert content.dtype == object and content.tolist() == [b"%d" % index for index in indices]
        assert label.dtype == np.int32 and label.tolist() == (indices * 2).tolist()
    assert all(part == sorted(set(part)) for part in records.read_indices)  # ascending, each once
    assert sum(map(len, records.read_indices)) <= sum(len(np.unique(group)) for group in foretold)
    assert not ahead._rows and ahead._num_held == 0
    assert ahead(np.array([99]))[1].tolist() == [198]  # that nobody foretold


def test_no_more_is_read_than_may_be_held(monkeypatch):
    monkeypatch.setattr(read_ahead, "TOGETHER", 8)
    records = Records()
    ahead = ReadAhead(records, (np.arange(16) + 16 * number for number in range(100)), most=32)
    deadline = time.monotonic() + 10
    while sum(map(len, records.read_indices)) < 32 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert sum(map(len, records.read_indices)) == 32
    assert ahead(np.arange(800, 816))[1].tolist() == list(range(1600, 1632, 2))  # far ahead: read on to there
    ahead.close()
    ahead._thread.join(10)
    assert not ahead._thread.is_alive()


def test_errors_of_the_reader_reach_whoever_asks():
    def damaged(indices):
        raise UserError("the shard is gone")

    with pytest.raises(UserError, match="the shard is gone"):
        ReadAhead(damaged, [np.arange(3)], most=10)(np.arange(2))

    def foretell():
        raise UserError("no such window")
        yield

    with pytest.raises(UserError, match="no such window"):
        ReadAhead(Records(), foretell(), most=10)(np.arange(2))
