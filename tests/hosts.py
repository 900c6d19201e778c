"""Several processes of one run on this machine, as on several hosts."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator

from tests import command


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return one.getsockname()[1]


def host_environment(number: int, count: int, port: int, devices: int) -> dict:
    # Quickly compiled also because gloo waits for the slowest process no longer than 30 s.
    return command.quick_environment(devices) | {
        "JAX_PLATFORMS": "cpu",
        "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
        "JAX_NUM_PROCESSES": str(count),
        "JAX_PROCESS_ID": str(number),
    }


@contextlib.contextmanager
def started(commands: list[list[str]], devices: int, logs) -> Iterator[list[subprocess.Popen]]:
    """Processes of `devices` CPU devices each, one a command; ended at the latest with the block.

    Their output goes to `logs`/0.txt and so on.
    """
    logs.mkdir(parents=True, exist_ok=True)
    port, processes = free_port(), []
    try:
        for number, one in enumerate(commands):
            with (logs / f"{number}.txt").open("w") as log:
                processes.append(
                    subprocess.Popen(
                        [*one, "--distributed"],
                        cwd=command.REPO,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        env=host_environment(number, len(commands), port, devices),
                    )
                )
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def wait_all(processes: list[subprocess.Popen], seconds: float = 300) -> list[int]:
    """The exit codes of all, as soon as the last has ended."""
    end = time.monotonic() + seconds
    return [process.wait(timeout=max(1, end - time.monotonic())) for process in processes]


def run(workdir, *more: str, count: int, devices: int, logs, config: str = "configs/mnist5k.py:smoke") -> str:
    """Runs `count` processes to a good end. Returns the lead's output."""
    with started([command.arguments(workdir, *more, config=config)] * count, devices, logs) as processes:
        codes = wait_all(processes)
    assert codes == [0] * count, "".join(path.read_text() for path in sorted(logs.glob("*.txt")))
    return (logs / "0.txt").read_text()
