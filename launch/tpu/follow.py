"""A run that goes on, seen through the objects in its bucket; by ssh only where these do not change."""

from launch.tpu import scripts
from launch.tpu.gcloud import GcloudError, Tpu, say
from launch.tpu.machine import SETTLE_POLLS, is_lost
from launch.tpu.progress import Ended, Watch, read_ended, read_progress, verdict


class Log:
    """The first worker's log in the bucket, printed as it grows."""

    def __init__(self, tpu: Tpu, name: str, start: str):
        self.tpu, self.url, self.shown = tpu, f"{scripts.status_folder(tpu.settings, name, start)}/log", 0

    def print_new(self) -> None:
        """Prints the lines that are new; one that is being written comes with the next look."""
        text = self.tpu.read_objects(self.url, self.shown)
        whole = text[: text.rfind("\n") + 1].encode(errors="surrogateescape")
        print(whole.decode(errors="replace"), end="", flush=True)
        self.shown += len(whole)


def statuses(tpu: Tpu, name: str) -> list[str]:
    """Status of each worker by ssh: running, gone (ended without a word, or never started), stopped, exit code."""
    lines = tpu.ssh(scripts.status(name), dry="status 0").splitlines()
    # Nothing was written of a run that ended on a full disk.
    return [line.removeprefix("status ").strip() or "unknown" for line in lines if line.startswith("status ")]


def follow(tpu: Tpu, name: str, start: str, watch: Watch) -> tuple[str, list[Ended]]:
    """Prints a run's log until the run has ended.

    Args:
      tpu: where it runs.
      name: of the run.
      start: which of its starts.
      watch: is shown the run's progress.

    Returns:
      (how it ended: see `verdict`, or 'stalled'; what the workers wrote at their ends).
    """
    log, ended, settings = Log(tpu, name, start), [], tpu.settings
    while True:
        try:
            ended = read_ended(tpu, name, start)
            log.print_new()
            watch.look(read_progress(tpu, name))
            workers = [worker.status for worker in ended]
            how = verdict(workers + ["running"] * (tpu.num_workers() - len(workers)))
            if how == "running" and watch.is_due(settings.look_minutes):
                how = verdict(statuses(tpu, name))
        except GcloudError as error:
            say(f"no answer from the bucket or the workers, trying on: {error}")
            how = "running"
        if tpu.dry_run:
            return "done", []
        if how == "running" and is_lost(tpu):
            return "interrupted", ended
        if how == "running" and watch.quiet_minutes() >= settings.stall_minutes:
            return "stalled", ended
        if how == "failed" and is_lost(tpu, SETTLE_POLLS):
            how = "interrupted"
        if how != "running":
            return how, ended
        tpu.wait()
