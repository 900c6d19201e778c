"""A process beside the run that holds a workdir: it does a part of that run's work, and completes nothing."""

import contextlib
import time

from etils import epath
from ml_collections import ConfigDict

from ns_jax.buckets import is_bucket
from ns_jax.errors import AnotherRunError, UserError
from ns_jax.experiment.lock import locked
from ns_jax.experiment.saved import load_config
from ns_jax.experiment.workdir import check_same_run
from ns_jax.parallel.hosts import is_process_zero, on_process_zero, verdict_of_process_zero
from ns_jax.report.progress import say
from ns_jax.run.iteration import Iteration

POLL, POLL_OF_BUCKET = 0.25, 5.0  # seconds


def hold_workdir(workdir: epath.Path, until_the_end: contextlib.ExitStack, can_help: bool) -> bool:
    """Holds the lock of a workdir. All hosts call it together, and process 0 holds it.

    Args:
      workdir: of the run.
      until_the_end: holds the lock as long as it is open.
      can_help: whether this run can work beside another one.

    Returns:
      Whether it holds it. False: another run does, and this one can help it.

    Raises:
      UserError: another run works there and cannot be helped, or the workdir cannot be written.
    """

    def hold() -> str:
        try:
            until_the_end.enter_context(locked(workdir))
        except AnotherRunError:
            if not can_help:
                raise
            return "another run"
        return "this run"

    holder = on_process_zero(hold)
    return verdict_of_process_zero("who holds the workdir", str(holder), lambda texts: texts[0].decode()) == "this run"


def help_other_run(config: ConfigDict, workdir: epath.Path, plan: list[Iteration], stages: list[list]) -> None:
    """Does a part of the stages of each iteration of `plan`, as far as the other run has begun them.

    Raises:
      UserError: that run has another config.
    """
    if is_process_zero():
        say(f"{workdir}: another run works here; this one helps it")
    wait_for([workdir / "config.json"], config.timeouts.join_seconds)
    on_process_zero(lambda: _check_config(workdir, config))
    for iteration, own_stages in zip(plan, stages, strict=True):
        for _, stage in own_stages:
            stage.check(iteration)
            if not stage.help(iteration):
                return


def _check_config(workdir: epath.Path, config: ConfigDict) -> None:
    path = workdir / "config.json"
    if not path.exists():
        raise UserError(f"{workdir} has no config.json: start again when the run there has begun")
    check_same_run(workdir, load_config(path), config)


def wait_for(paths: list[epath.Path], seconds: float) -> bool:
    """Waits until the other run has written one of some files; False on all hosts where it has not in `seconds`."""

    def wait() -> str:
        until = time.monotonic() + seconds
        while not any(path.exists() for path in paths):
            if time.monotonic() >= until:
                return "no"
            time.sleep(POLL_OF_BUCKET if is_bucket(paths[0]) else POLL)
        return "yes"

    written = on_process_zero(wait)
    return verdict_of_process_zero(f"{paths[0]} is there", str(written), lambda texts: texts[0].decode()) == "yes"
