"""Runs that are started, followed, and started again after preemptions and failures."""

import contextlib
import time
from collections.abc import Iterator

from launch.errors import LaunchError
from launch.jobs import Job
from launch.tpu import machine, scripts
from launch.tpu.follow import follow, statuses
from launch.tpu.gcloud import NO_RETRY, GcloudError, Tpu, say
from launch.tpu.progress import (
    USER_ERROR,
    Ended,
    Failures,
    Watch,
    last_lines,
    position,
    read_ended,
    read_progress,
    verdict,
)

RESTARTS = 3  # tries to start a run on a TPU that is ready; the first start has a single try


def setup(tpu: Tpu, commit: str) -> None:
    """Installs a commit, or the image, on every worker; quick where it is there."""
    say(f"{tpu.settings.image or f'commit {commit}'} on every worker")
    tpu.ssh(scripts.setup(tpu.settings, commit))
    tpu.ssh(scripts.mark_first(), first_only=True)


def start(tpu: Tpu, job: Job) -> str:
    """Starts a job in the background of every worker; one that goes on is left alone. Returns the name of its start."""
    say(f"starting {job.name}")
    begun = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    tpu.ssh(scripts.start(tpu.settings, job, begun))
    return read_start(tpu, job.name) or begun


def read_start(tpu: Tpu, name: str) -> str:
    """Which start of a run the first worker knows; '' where it knows none."""
    return tpu.ssh(scripts.read_start(name), first_only=True).strip()


def stop(tpu: Tpu) -> None:
    """Ends the run that goes on: SIGTERM, then SIGKILL."""
    tpu.ssh(scripts.stop(tpu.settings))


def going_on(tpu: Tpu) -> str:
    """The name of the run that goes on; '' without one."""
    if machine.state(tpu, dry="") != "READY":
        return ""
    names = tpu.ssh(scripts.going_on(), first_only=True).split()
    return names[0] if names else ""


def follow_again(tpu: Tpu, job: Job) -> None:
    """Prints the log of a run that goes on, of which this launcher knows nothing. Raises LaunchError."""
    try:
        begun = read_start(tpu, job.name)
        how = follow(tpu, job.name, begun, Watch())[0] if begun else verdict(statuses(tpu, job.name))
    except GcloudError:
        if not machine.is_lost(tpu):
            raise
        how = "interrupted"
    if how != "done":
        raise LaunchError(f"{job.name} does not go on: {how}")


def run(tpu: Tpu, job: Job, commit: str) -> None:
    """Creates, sets up and starts what is not there, and follows the run; again after every interruption.

    Raises:
      LaunchError: the run failed for good, was stopped, or could not be started.
    """
    again, tries, how, ended = False, 0, "", []
    failures = Failures(tpu.settings.failures, position(read_progress(tpu, job.name)))
    while True:
        machine.make_ready(tpu, patient=again)
        watch = Watch()
        try:
            if how == "interrupted" and verdict(statuses(tpu, job.name)) != "running":
                stop(tpu)  # workers that still wait for the one that was interrupted
            setup(tpu, commit)
            begun = start(tpu, job)
            tries = 0
            how, ended = follow(tpu, job.name, begun, watch)
            if how == "interrupted":
                machine.is_lost(tpu, machine.SETTLE_POLLS)  # returns as soon as the preemption, if it was one, shows
            elif how in ("failed", "stalled"):
                ended = end_failed(tpu, job.name, begun)
        except GcloudError as error:
            if error.code == NO_RETRY:
                raise
            how = "interrupted"
            if not machine.is_lost(tpu, machine.SETTLE_POLLS):
                tries += 1
                if not again or tries == RESTARTS:
                    raise
                say(f"{job.name} could not be started, trying on: {error}")
        if how == "done":
            if not tpu.dry_run:
                say(f"{job.name} is done: {tpu.settings.bucket.rstrip('/')}/{job.name}")
            return
        if how == "stopped":
            raise LaunchError(f"{job.name} was stopped")
        if how == "interrupted":
            say(f"{job.name} was interrupted; it continues from its last checkpoint")
        else:
            count_failure(tpu, job.name, how, failures, watch, ended)
        again = True


def end_failed(tpu: Tpu, name: str, start: str) -> list[Ended]:
    """Ends the run where it hangs without the others, and prints the last lines of some workers' logs."""
    stop(tpu)
    ended = read_ended(tpu, name, start)
    print(last_lines(ended), flush=True)
    return ended


def count_failure(tpu: Tpu, name: str, how: str, failures: Failures, watch: Watch, ended: list[Ended]) -> None:
    """Raises LaunchError where the run is not to be started again."""
    by_user = any(worker.status == USER_ERROR for worker in ended)
    minutes = f" (no progress for {tpu.settings.stall_minutes:g} minutes)" if how == "stalled" else ""
    if not failures.add(watch.furthest, by_user):
        say(f"{name} {how}{minutes}; it is started again ({failures.count} of {failures.most} without progress)")
        return
    times = f" {failures.count} times without progress" if failures.count > 1 else ""
    raise LaunchError(f"{name} {how}{minutes}{times}; its log is {scripts.FOLDER}/{name}.log on each worker")


def chain(tpu: Tpu, jobs: list[Job], commit: str) -> None:
    """Runs the jobs in order; where one of them already goes on, from that job."""
    going = going_on(tpu)
    first = next((number for number, job in enumerate(jobs) if job.name == going), 0)
    for job in jobs[first:]:
        run(tpu, job, commit)


@contextlib.contextmanager
def deleted_at_end(tpu: Tpu) -> Iterator[None]:
    """Deletes the TPU after the block, however it ends but by Ctrl-C, where the settings say so."""
    try:
        yield
    except LaunchError:
        if tpu.settings.delete_at_end:
            machine.delete(tpu)
        raise
    if tpu.settings.delete_at_end:
        machine.delete(tpu)
