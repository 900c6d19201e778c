"""Hosts without devices, data or models: processes that join a run, wait for each other, and fail."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time

from ns_jax.parallel.coordination import TimeOuts
from tests.hosts import free_port

SILENCE = 8.0


def forks():
    """Forks processes of a server that has imported jax."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ns_jax.parallel.start"])
    return context


def be_host(number: int, count: int, port: int, log: str, what: str, at: int, silence: float) -> None:
    """Joins, and comes to a barrier; process `at` has the fault `what` before it."""
    os.environ |= {
        "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
        "JAX_NUM_PROCESSES": str(count),
        "JAX_PROCESS_ID": str(number),
    }
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = (os.fdopen(fd, "w", buffering=1, closefd=False) for fd in (1, 2))
    from ns_jax.parallel.coordination import current
    from ns_jax.parallel.preemption import must_stop
    from ns_jax.parallel.start import fail_together, join_hosts, leave_hosts

    join_hosts(TimeOuts(silence=silence, barrier=30, join=120, shutdown=60))
    fault, _, place = what.partition(" ")
    try:
        current().exchange("the beginning", b"", lambda values: b"")
        if number == at:
            print(f"fault: {time.monotonic()}", flush=True)
            happen(fault, silence)
        elif place == "computing":  # as in a collective of devices, which needs all of them
            time.sleep(100)
        if place == "labeling":  # each at its own pace
            until = time.monotonic() + 30
            while not must_stop(together=False):
                assert time.monotonic() < until, "nobody told of the SIGTERM"
                time.sleep(0.1)
        current().exchange("a barrier", b"", lambda values: b"")
        leave_hosts()
    except Exception as error:
        fail_together(error)


def happen(fault: str, silence: float) -> None:
    if fault == "term":
        os.kill(os.getpid(), signal.SIGTERM)
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "stop":
        subprocess.Popen(["sh", "-c", f"sleep {3 * silence}; kill -CONT {os.getpid()}"], start_new_session=True)
        os.kill(os.getpid(), signal.SIGSTOP)
    if fault == "pause":
        subprocess.Popen(["sh", "-c", f"sleep {silence / 3}; kill -CONT {os.getpid()}"], start_new_session=True)
        os.kill(os.getpid(), signal.SIGSTOP)
    if fault == "raise":
        raise ValueError("two\nlines")
    if fault == "hang":
        time.sleep(100)
    if fault == "slow":
        time.sleep(2 * silence)


def run(context, count: int, what: str, at: int, logs, silence: float = SILENCE, seconds: float = 150) -> dict:
    """{codes, lines, seconds}: how each process ended, its lines of error, and the time from the fault to the end."""
    logs.mkdir(parents=True, exist_ok=True)
    port = free_port()
    paths = [logs / f"{number}.txt" for number in range(count)]
    processes = [
        context.Process(target=be_host, args=(number, count, port, str(paths[number]), what, at, silence))
        for number in range(count)
    ]
    for process in processes:
        process.start()
    until, ends = time.monotonic() + seconds, [0.0] * count
    while time.monotonic() < until and not all(ends):
        for number, process in enumerate(processes):
            if not ends[number] and process.exitcode is not None:
                ends[number] = time.monotonic()
        time.sleep(0.05)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
        process.join()
    happened = [float(line.split()[1]) for line in paths[at].read_text().splitlines() if line.startswith("fault: ")]
    others = [ends[number] for number in range(count) if number != at]
    lines = [[line for line in path.read_text().splitlines() if line.startswith("error: ")] for path in paths]
    return {"codes": codes, "lines": lines, "seconds": max(others) - happened[0]}


if __name__ == "__main__":
    import pathlib
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        here, cells = forks(), sys.argv[2:]
        for cell in cells:
            for at in (0, 1):
                result = run(here, int(sys.argv[1]), cell, at, pathlib.Path(folder) / f"{cell}{at}")
                print(cell, at, json.dumps(result), flush=True)
