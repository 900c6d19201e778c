"""Progress of a stage for people: a bar on a terminal, plain lines otherwise.

By hand, because clu's ReportProgress writes to the log and to TensorBoard, and has no bar.
"""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ns_jax.progress_file import report_steps

PLAIN_LINE_EVERY_SECONDS = 10.0


def say(line: str) -> None:
    """Prints one line of plain text."""
    print(line, flush=True)


class StageProgress:
    """Progress of one stage. A context manager.

    Args:
      title: which iteration and stage.
      total: steps of the whole stage.
      done: steps that an earlier start of the run already did.
      shown: False on hosts that print nothing.
      unit: what is counted.
    """

    def __init__(self, title: str, total: int, done: int = 0, shown: bool = True, unit: str = "steps"):
        self.title, self.total, self.done, self.shown, self.unit = title, total, done, shown, unit
        self.started_at, self.started_with = None, done
        self.last_line = time.monotonic()
        self.bar = None

    def __enter__(self):
        if self.shown and sys.stdout.isatty():
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(12),
                MofNCompleteColumn(),
                TextColumn("{task.fields[text]}"),
                TimeRemainingColumn(compact=True),
                TextColumn("left"),
                console=Console(file=sys.stdout),
            )
            self.bar.start()
            self.task = self.bar.add_task(self.title, total=self.total, completed=self.done, text="")
        return self

    def __exit__(self, *exc):
        if self.bar:
            self.bar.stop()

    @property
    def speed(self) -> float:
        """Steps per second since the first update; before that a stage compiles."""
        return (self.done - self.started_with) / max(time.monotonic() - self.started_at, 1e-9)

    def update(self, done: int, text: str = "") -> None:
        """Shows that `done` steps are done; `text` holds the metrics, those shown last stay where it is empty."""
        if self.started_at is None:
            self.started_at, self.started_with = time.monotonic(), done
        self.done = done
        report_steps(done, self.total, self.unit)
        if not self.shown:
            return
        if text and self.speed:
            text = f"{self.speed:.1f} {self.unit}/s, {text}"
        if self.bar:
            fields = {"text": text} if text else {}
            self.bar.update(self.task, completed=done, **fields)
            return
        now = time.monotonic()
        if text and (done == self.total or now - self.last_line >= PLAIN_LINE_EVERY_SECONDS):
            self.last_line = now
            left = f", {(self.total - done) / self.speed:.0f} s left" if self.speed else ""
            say(f"{self.title}: {done}/{self.total}, {text}{left}")
