"""What depends on the number of hosts, for up to 512 of them: counts and numbers are given, no process is started."""

import contextlib
import dataclasses
import random

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ns_jax.inference.predictor import Predictor
from ns_jax.parallel import hosts as helpers
from ns_jax.parallel.agreement import HostRecord, disagreement
from ns_jax.parallel.mesh import host_rows
from ns_jax.run.save_times import AHEAD, SaveTimes
from ns_jax.run.sidecars import check_shards

COUNTS = st.sampled_from([1, 2, 3, 7, 16, 64, 255, 256, 512])


@contextlib.contextmanager
def as_host(process: int, count: int):
    """jax says that this is process `process` of `count`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "process_index", lambda: process)
        patch.setattr(jax, "process_count", lambda: count)
        yield


@settings(max_examples=20, deadline=None)
@given(COUNTS, st.integers(1, 40))
def test_rows_of_a_batch_are_fed_once(count, per_host):
    rows = []
    for process in range(count):
        with as_host(process, count):
            rows += range(*host_rows(count * per_host).indices(count * per_host))
    assert rows == list(range(count * per_host))


class CountingPredictor:
    """Gives each example its index as probability; remembers how many batches it was asked for."""

    def __init__(self, batch: int):
        self.batch, self.asked = batch, []

    def num_batches(self, count: int) -> int:
        return max(1, -(-count // self.batch))

    def __call__(self, source, indices, num_batches):
        self.asked.append(num_batches)
        assert len(indices) <= num_batches * self.batch
        yield np.repeat(indices[:, None], 2, axis=1).astype(np.float32), np.zeros(len(indices)), indices


@settings(max_examples=10, deadline=None)
@given(COUNTS, st.integers(0, 3000))
def test_each_example_is_predicted_by_one_host(count, num_examples):
    seen, batches = [], set()
    for process in range(count):
        predictor = CountingPredictor(7)
        with as_host(process, count):
            for _, _, indices in Predictor.every_example(predictor, None, np.arange(num_examples)):
                seen += indices.tolist()
        batches.add(tuple(predictor.asked))
    assert sorted(seen) == list(range(num_examples)) and len(batches) == 1


@settings(max_examples=10, deadline=None)
@given(COUNTS, st.integers(0, 700))
def test_each_shard_is_checked_by_one_host(count, num_shards):
    checked = []

    class Unreadable:
        def shard_path(self, shard):
            raise FileNotFoundError

    for process in range(count):
        with as_host(process, count), pytest.MonkeyPatch.context() as patch:
            # Others' shards count as good.
            patch.setattr("ns_jax.run.sidecars.sum_over_hosts", lambda values: np.zeros_like(values))
            check_shards(Unreadable(), num_shards, checked.append)
    assert sorted(checked) == list(range(num_shards))


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 512), st.data())
def test_the_odd_one_of_many_hosts_is_named(count, data):
    odd = data.draw(st.integers(0, count - 1)) if count > 2 else 1
    usual = HostRecord("worker", 0, "aaa", "3.11", "0.10", "ccc", "/runs", 1000.0)
    records = [dataclasses.replace(usual, host=f"worker-{i}", process=i) for i in range(count)]
    assert disagreement(records) is None
    records[odd] = dataclasses.replace(records[odd], jax="0.9")
    assert disagreement(records).startswith(f"host worker-{odd} (process {odd}) has another jax than host worker-")


class Told:
    """A coordination in which an answer that is asked for must be there: nobody waits in it."""

    def __init__(self, process: int, count: int, values: dict):
        self.process, self.count, self.values = process, count, values

    def tell(self, key, value):
        self.values[key] = value

    def hear(self, key):
        return self.values[key]

    def forget(self, key):
        del self.values[key]


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([2, 3, 16, 512]), st.integers(1, 200), st.integers(0, 2**31), st.integers(1, 6))
def test_all_hosts_save_after_the_same_steps(count, every_seconds, seed, apart):
    """Hosts have clocks that differ and run at their own pace, up to six steps apart."""
    chance, values, saves = random.Random(seed), {}, [[] for _ in range(count)]
    clocks = [chance.uniform(0, 1e6) for _ in range(count)]
    turn, start = [0], chance.randint(0, 1000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ns_jax.run.save_times.time.monotonic", lambda: clocks[turn[0]])
        patch.setattr(SaveTimes, "_trainings", 0)
        times = []
        for process in range(count):
            turn[0] = process
            patch.setattr(SaveTimes, "_trainings", 0)
            times.append(SaveTimes(90, every_seconds, start, Told(process, count, values)))
        for first in range(start + 1, start + 150, apart):
            order = list(range(count))
            chance.shuffle(order)  # the last of these is `apart` steps behind the first
            for process in order:
                turn[0] = process
                for step in range(first, first + apart):
                    clocks[process] += chance.uniform(0.5, 1.5)
                    if times[process](step):
                        saves[process].append(step)
                        times[process].saved()
    assert all(steps == saves[0] for steps in saves)
    by_time = [step for step in saves[0] if step % 90]
    assert all((step - start) % AHEAD == 0 for step in by_time)
    if every_seconds < 40:
        assert len(by_time) >= 1
    assert len(values) <= 4


def test_one_process_saves_when_its_last_checkpoint_is_old(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("ns_jax.run.save_times.time.monotonic", lambda: now[0])
    times, saved = SaveTimes(10, 5.0, 0), []
    for step in range(1, 25):
        now[0] += 0.9
        if times(step):
            saved.append(step)
            times.saved()
    assert saved == [6, 10, 16, 20]


def test_rows_of_one_process_are_its_own():
    rows = np.arange(6).reshape(3, 2)
    assert helpers.gather_rows(rows) is rows and helpers.sum_over_hosts(rows) is rows
