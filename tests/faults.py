"""What happens to a process of a run, at a moment of a stage: the fault is made inside the process.

Processes are forked from one that has imported everything, as imports take longer than what these tests look at.
"""

import builtins
import dataclasses
import errno
import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time

from tests import command, hosts

STAGES = ("check", "label", "select", "train", "evaluate", "report")
FAULTS = ("kill", "term", "stop", "disk", "slow", "clock", "read")
# In the middle of these a batch is waited for; the others are disturbed at their beginning.
IN_BATCHES = {"label", "train", "evaluate"}
FROM_THE_BEGINNING = {"disk", "read"}


@dataclasses.dataclass(frozen=True)
class Fault:
    """What happens.

    Attributes:
      stage: in which.
      kind: of FAULTS.
      workdir: whose files a failing disk holds.
      seconds: for which a stopped process stands still.
    """

    stage: str
    kind: str
    workdir: str
    seconds: float = 120.0

    def happen(self) -> None:
        """Makes the fault."""
        print(f"fault: {self.kind} in {self.stage} at {time.monotonic()}", flush=True)
        if self.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.kind == "term":
            os.kill(os.getpid(), signal.SIGTERM)
        elif self.kind == "stop":
            subprocess.Popen(["sh", "-c", f"sleep {self.seconds}; kill -CONT {os.getpid()}"], start_new_session=True)
            os.kill(os.getpid(), signal.SIGSTOP)
        elif self.kind == "slow":
            time.sleep(6)
        elif self.kind == "clock":
            real = time.time
            time.time = lambda: real() + 3600
        elif self.kind in ("disk", "read"):
            fail_files(self.workdir, reading=self.kind == "read")

    def put_into(self) -> None:
        """Lets the fault happen in this process at its moment."""
        from ns_jax.inference import predictor
        from ns_jax.run import orchestrate
        from ns_jax.stages import train

        state = {"stage": "", "calls": 0, "done": False}

        def enter(stage: str) -> None:
            state["stage"], state["calls"] = stage, 0
            if stage == self.stage and (stage not in IN_BATCHES or self.kind in FROM_THE_BEGINNING):
                once()

        def once() -> None:
            if not state["done"]:
                state["done"] = True
                self.happen()

        def count(must_stop):
            def counted(*arguments):
                state["calls"] += 1
                if state["stage"] == self.stage and state["calls"] == 2:
                    once()
                return must_stop(*arguments)

            return counted

        train.must_stop, predictor.must_stop = count(train.must_stop), count(predictor.must_stop)
        get_stage, report = orchestrate.get_stage, orchestrate.report_in_time

        def with_moments(name: str):
            stage = get_stage(name)

            def run(iteration) -> None:
                if iteration.name == "iteration_1":
                    enter(name)
                stage.run(iteration)

            def check(iteration) -> None:
                enter("check")
                stage.check(iteration)

            return dataclasses.replace(stage, run=run, check=check)

        def with_fault(*arguments) -> None:
            enter("report")
            report(*arguments)

        orchestrate.get_stage, orchestrate.report_in_time = with_moments, with_fault
        if self.kind == "clock" and self.stage == "check":
            self.happen()


def fail_files(workdir: str, reading: bool) -> None:
    """From now on this process can read, or write, no file of a workdir."""
    from ns_jax import checkpoint

    def fail(*_, **__):
        raise OSError(errno.EIO, os.strerror(errno.EIO), workdir)

    real = io.open

    def opened(file, mode="r", *rest, **more):
        reads = not set(mode) & set("wax+")
        if reads == reading and str(file).startswith(workdir):
            fail()
        return real(file, mode, *rest, **more)

    io.open = builtins.open = opened
    if reading:
        checkpoint._read_state = fail
        checkpoint.RETRY_SECONDS = (0.1, 0.1)
    else:
        checkpoint.Checkpoints.save = fail


# --- Processes -----------------------------------------------------------------------------------------


def context():
    """Forks processes of a server that has imported the stages."""
    os.environ |= command.quick_environment(1) | {"JAX_PLATFORMS": "cpu"}
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["tests.imported"])
    return forks


def be_host(arguments: list[str], environment: dict, log: str, fault: Fault | None) -> None:
    """A process of a run: what `python -m ns_jax.main` does after its imports."""
    os.environ.update(environment)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    from absl import app, logging

    from ns_jax import main
    from ns_jax.command_line import parse_flags
    from ns_jax.interrupt import end_at_interrupt

    logging.get_absl_handler().python_handler.stream = sys.stderr
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_at_interrupt("interrupted")
    if fault is not None:
        fault.put_into()
    app.run(main.main, argv=["ns_jax.main", *arguments], flags_parser=parse_flags)


def start(forks, arguments: list[str], count: int, logs, fault: Fault | None = None, at: int = 0) -> list:
    """Starts the processes of a run; `fault` happens in process `at`."""
    logs.mkdir(parents=True, exist_ok=True)
    port, processes = hosts.free_port(), []
    for number in range(count):
        environment = {
            "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
            "JAX_NUM_PROCESSES": str(count),
            "JAX_PROCESS_ID": str(number),
        }
        own = fault if number == at else None
        process = forks.Process(
            target=be_host, args=([*arguments, "--distributed"], environment, str(logs / f"{number}.txt"), own)
        )
        process.start()
        processes.append(process)
    return processes


def end(processes: list, seconds: float) -> list[tuple[int | None, float]]:
    """(exit code, moment) of each; None for one that has not ended after `seconds` in all, and is killed."""
    until, ends = time.monotonic() + seconds, {}
    while len(ends) < len(processes) and time.monotonic() < until:
        for number, process in enumerate(processes):
            if number not in ends and process.exitcode is not None:
                ends[number] = process.exitcode, time.monotonic()
        time.sleep(0.1)
    for number, process in enumerate(processes):
        if number not in ends:
            process.kill()
            process.join()
            ends[number] = None, time.monotonic()
    return [ends[number] for number in range(len(processes))]


def errors(log) -> list[str]:
    """The lines of error in an output."""
    return [line for line in log.read_text().splitlines() if line.startswith("error: ")]


def moment(log) -> float | None:
    """When the fault happened, by the clock that all processes of a machine share."""
    lines = [line for line in log.read_text().splitlines() if line.startswith("fault: ")]
    return float(lines[0].rpartition(" ")[2]) if lines else None


def save(path, rows: list[dict]) -> None:
    path.write_text(json.dumps(rows, indent=1))
