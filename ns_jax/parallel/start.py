"""The beginning and the end of a process that is one of several hosts."""

import os
import time

import jax

from ns_jax.errors import UserError
from ns_jax.parallel.coordination import MARGIN_SECONDS, SLICE_SECONDS, TimeOuts, current, start_coordination
from ns_jax.parallel.watch import Watch, describe, end_together

_watch: Watch | None = None


def join_hosts(time_outs: TimeOuts | None = None) -> None:
    """Starts jax.distributed: with JAX_NUM_PROCESSES and JAX_PROCESS_ID where they are set, else as it finds.

    Raises:
      UserError: it finds no cluster, one of the variables is no number, or a host does not start in time.
    """
    global _watch
    waits, given = time_outs or TimeOuts(), {}
    for name in ("num_processes", "process_id"):
        if text := os.environ.get(f"JAX_{name.upper()}"):
            if not text.isdecimal():
                raise UserError(f"JAX_{name.upper()}={text!r} is not a number")
            given[name] = int(text)
    try:
        jax.distributed.initialize(
            **given,
            initialization_timeout=round(waits.join),
            # After this project's own watch, which names who is silent.
            heartbeat_timeout_seconds=round(2 * waits.silence + 30),
            shutdown_timeout_seconds=round(waits.shutdown),
        )
    except ValueError as error:
        raise UserError(
            f"--distributed: {' '.join(str(error).split())} On TPU VMs and Slurm clusters jax finds it; elsewhere set "
            "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID"
        ) from None
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).splitlines()[0][:300]
        raise UserError(
            f"not all hosts have started within {waits.join:.0f} s (timeouts.join_seconds): {reason}; look at the logs "
            "of those that are missing"
        ) from None
    hosts = start_coordination(waits)
    if hosts.count > 1:
        _watch = Watch(hosts)
        _watch.start()


def leave_hosts() -> None:
    """At the end of a run: waits until every host is here, so that none takes the end of another for a failure.

    Process 0 waits in jax's shutdown, too, until all have heard that all are here.
    """
    hosts = current()
    if hosts is not None and hosts.count > 1:
        hosts.exchange("the end of the run", b"", lambda values: b"")
    if _watch is not None:
        _watch.stop()
    jax.distributed.shutdown()


def fail_together(error: BaseException) -> None:
    """Ends all processes of the run with one line about an error of this one. Returns where it is the only one."""
    hosts = current()
    if hosts is None or hosts.count == 1:
        return
    if is_of_another(error):
        until = time.monotonic() + hosts.time_outs.silence + MARGIN_SECONDS
        while time.monotonic() < until and hosts.failure() is None:
            time.sleep(SLICE_SECONDS)
    end_together(hosts, *describe(hosts, error))


# What collectives say on a host when another one has gone; the line of that one, or its silence, says more.
LOST = ("Gloo", "gloo", "NCCL", "Connection closed", "Connection reset", "Broken pipe", "Socket closed", "UNAVAILABLE")


def is_of_another(error: BaseException) -> bool:
    """Whether an error of jax tells that another host has gone."""
    return isinstance(error, jax.errors.JaxRuntimeError) and any(word in str(error) for word in LOST)
