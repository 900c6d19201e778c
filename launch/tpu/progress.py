"""What a run and its workers have written to the bucket, and what it means for the launcher."""

import dataclasses
import json
import time

from launch.tpu.gcloud import Tpu
from launch.tpu.scripts import status_folder

TERMINATED_FROM_OUTSIDE = ("gone", "143")  # 143: by SIGTERM, which `stop` would have noted
USER_ERROR = "2"  # exit code of ns_jax for what the user has to mend
SHOWN_WORKERS = 4  # whose last lines are printed of a run that failed


@dataclasses.dataclass(frozen=True)
class Ended:
    """How the run ended on a worker.

    Attributes:
      host: name of the worker.
      status: exit code; 'stopped' by `stop`.
      lines: the last of its log, each with the host's name.
    """

    host: str
    status: str
    lines: tuple[str, ...]


def read_ended(tpu: Tpu, name: str, start: str) -> list[Ended]:
    """The workers on which a start of a run has ended."""
    ended: list[Ended] = []
    for line in tpu.read_objects(f"{status_folder(tpu.settings, name, start)}/*.end").splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "ended":  # nothing more was written on a full disk
            ended.append(Ended(words[1], words[2] if len(words) > 2 else "unknown", ()))
        elif ended:
            ended[-1] = dataclasses.replace(ended[-1], lines=(*ended[-1].lines, line))
    return ended


def verdict(workers: list[str]) -> str:
    """What the workers' statuses say of the run: running, done, stopped, interrupted or failed."""
    if "stopped" in workers:
        return "stopped"
    if any(status in TERMINATED_FROM_OUTSIDE for status in workers):
        return "interrupted"
    if any(status not in ("running", "0") for status in workers):
        return "failed"
    return "running" if "running" in workers or not workers else "done"


def last_lines(ended: list[Ended]) -> str:
    """The end of the logs of a few workers, first of those that failed by themselves."""
    ranked = sorted(ended, key=lambda worker: worker.status in ("0", "stopped", *TERMINATED_FROM_OUTSIDE))
    return "\n".join(line for worker in ranked[:SHOWN_WORKERS] for line in worker.lines)


def read_progress(tpu: Tpu, name: str) -> str:
    """The run's progress.json; '' where there is none."""
    return tpu.read_objects(f"{tpu.settings.bucket.rstrip('/')}/{name}/progress.json")


def position(progress: str) -> tuple[int, int]:
    """How far a run is by its progress.json: (stages begun, steps of the last). (0, 0) where that cannot be read."""
    try:
        fields = json.loads(progress)
        return int(fields["stages_begun"]), int(fields["done"])
    except (ValueError, KeyError, TypeError):
        return 0, 0


class Watch:
    """Looks for changes of a run's progress.json: a run that hangs writes none.

    Attributes:
      furthest: the largest position that was seen.
    """

    def __init__(self):
        self.furthest = (0, 0)
        self._seen: str | None = None
        self._changed_at = self._looked_at = time.monotonic()

    def look(self, progress: str) -> None:
        self.furthest = max(self.furthest, position(progress))
        if progress != self._seen:
            self._seen, self._changed_at = progress, time.monotonic()

    def quiet_minutes(self) -> float:
        """Minutes without a change."""
        return (time.monotonic() - self._changed_at) / 60

    def is_due(self, minutes: float) -> bool:
        """Whether the last change, and the last time that this was true, are longer ago than some minutes."""
        now = time.monotonic()
        due = now - max(self._changed_at, self._looked_at) >= minutes * 60
        self._looked_at = now if due else self._looked_at
        return due


class Failures:
    """Counts failures that follow each other without progress.

    Args:
      most: failures of which the last is final.
      furthest: position of the run at the beginning.
    """

    def __init__(self, most: int, furthest: tuple[int, int]):
        self.most, self.furthest, self.count = most, furthest, 0

    def add(self, furthest: tuple[int, int], by_user: bool = False) -> bool:
        """Whether a failure is final.

        Args:
          furthest: how far the run was.
          by_user: it was something that the user has to mend, unless there was progress.
        """
        if furthest > self.furthest:
            self.furthest, self.count = furthest, 0
        elif by_user:
            return True
        self.count += 1
        return self.count >= self.most
