"""Hosts tell each other things through a real coordination service, with clients that have no devices."""

import contextlib
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ns_jax.errors import HostError
from ns_jax.parallel import hosts as helpers
from ns_jax.parallel.coordination import Coordination, TimeOuts
from tests.hosts import free_port


@contextlib.contextmanager
def clients(count: int, time_outs: TimeOuts | None = None):
    """So many hosts, named worker-0 and so on, each to be used in a thread of its own."""
    from jax._src.lib import _jax

    port = free_port()
    service = _jax.get_distributed_runtime_service(f"[::]:{port}", count, heartbeat_timeout=100, shutdown_timeout=20)
    connected: list = [None] * count

    def connect(process: int) -> None:
        client = _jax.get_distributed_runtime_client(
            f"localhost:{port}", process, init_timeout=100, heartbeat_timeout=100, use_compression=True
        )
        client.connect()
        connected[process] = Coordination(client, process, count, time_outs, f"worker-{process}")

    in_threads(connect, range(count))
    try:
        yield connected
    finally:
        in_threads(lambda hosts: hosts.client.shutdown(), connected)
        service.shutdown()


def in_threads(function, arguments) -> list:
    """What `function` returns, or raises, of each argument, called at the same time."""
    arguments = list(arguments)
    results: list = [None] * len(arguments)

    def call(place: int) -> None:
        try:
            results[place] = function(arguments[place])
        except Exception as error:
            results[place] = error

    threads = [threading.Thread(target=call, args=(place,)) for place in range(len(arguments))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.fixture(scope="module")
def three():
    with clients(3) as hosts:
        yield hosts


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(width=64, allow_nan=False), min_size=3, max_size=3), st.sampled_from(["<f8", "<i8", "|u1"]))
def test_sums_are_those_of_numpy_in_the_order_of_processes(three, numbers, dtype):
    parts = [np.array([[number, 1.0]]).clip(-100, 100).astype(dtype) for number in numbers]
    expected = sum(parts)
    for total in in_threads(lambda host: helpers.sum_over(host, parts[host.process]), three):
        assert total.dtype == expected.dtype
        np.testing.assert_array_equal(total, expected)


def test_values_come_in_the_order_of_processes(three):
    values = [b"", b"\n\0", b"x" * 100_000]
    gathered = in_threads(lambda host: helpers.gather_values(host, "v", values[host.process]), three)
    assert gathered == [values] * 3


def test_old_answers_are_deleted(three):
    in_threads(lambda host: helpers.gather_values(host, "v", b""), three)
    in_threads(lambda host: helpers.gather_values(host, "v", b""), three)
    calls = {key.split("/")[2] for key, _ in three[0].client.key_value_dir_get_bytes("ns_jax/call/")}
    assert calls == {str(three[0]._call)}


def test_who_is_missing_is_named(monkeypatch):
    monkeypatch.setattr("ns_jax.parallel.coordination.MARGIN_SECONDS", 0.5)
    with clients(4, TimeOuts(barrier=1.5)) as hosts:
        there = [hosts[0], hosts[2]]
        begun = time.monotonic()
        (error, other) = in_threads(lambda host: host.exchange("a barrier", b"", lambda values: b""), there)
        assert isinstance(error, HostError)
        assert str(error).startswith(
            "worker-1 (process 1), worker-3 (process 3) did not come to 'a barrier' within 2 s"
        )
        assert isinstance(other, HostError) and str(error).partition(" did")[0] in str(other)
        assert time.monotonic() - begun < 20


def test_missing_process_0_is_named(monkeypatch):
    monkeypatch.setattr("ns_jax.parallel.coordination.MARGIN_SECONDS", 0.5)
    with clients(2, TimeOuts(barrier=1)) as hosts:
        (error,) = in_threads(lambda host: host.exchange("a barrier", b"", lambda values: b""), hosts[1:])
        assert str(error).startswith("worker-0 (process 0) did not come to 'a barrier'")


def test_a_failure_ends_all_waits_at_once():
    with clients(3) as hosts:

        def wait_or_fail(host):
            if host.process == 2:
                time.sleep(0.3)
                return host.report_failure("worker-2 (process 2): ValueError: x", 1)
            return host.exchange("a barrier", b"", lambda values: b"")

        begun = time.monotonic()
        first, second, third = in_threads(wait_or_fail, hosts)
        assert time.monotonic() - begun < 10
        assert str(first) == str(second) == third[0] == "worker-2 (process 2): ValueError: x"
        assert hosts[1].report_failure("another", 2) == third  # the first one counts


def test_hosts_at_different_places_do_not_wait():
    with clients(2) as hosts:
        error, _ = in_threads(
            lambda host: (
                host.exchange(f"place {host.process}", b"", lambda values: b"")
                if host.process == 0
                else host.client.key_value_set_bytes("ns_jax/call/1/from/1", b'"place 1"\n')
            ),
            hosts,
        )
        assert "worker-1 (process 1) is at 'place 1' while process 0 is at 'place 0'" in str(error)


@pytest.mark.parametrize("count", [16, *(pytest.param(count, marks=pytest.mark.slow) for count in (64, 128, 256))])
def test_many_hosts(count):
    """256 clients live in one process of two cores: each is what a host has beside its devices."""
    with clients(count) as hosts:
        begun = time.monotonic()
        for _ in range(3):
            sums = in_threads(lambda host: helpers.sum_over(host, np.array([host.process, 1])), hosts)
            assert all(total.tolist() == [count * (count - 1) // 2, count] for total in sums)
        print(f"{count} hosts: {(time.monotonic() - begun) / 3:.3f} s a sum")
