"""What each stage of an iteration took: ITERATION/took.json, {stage: {seconds, peak_mib, finished}}."""

import contextlib
import resource
import sys
import time
from collections.abc import Iterator

from etils import epath

from ns_jax.files import read_json_object, write_json
from ns_jax.parallel.hosts import is_process_zero
from ns_jax.progress_file import begin_stage


@contextlib.contextmanager
def recorded(folder: epath.Path, stage: str) -> Iterator[None]:
    """Records, on process 0, how long a stage ran and the largest memory of the process so far.

    Starts of a stage that was stopped add up; one that is finished keeps its figures, as it only looks what is there.
    """
    path = folder / "took.json"
    started_at, finished = time.monotonic(), False
    begin_stage(f"{folder.name} {stage}")
    try:
        yield
        finished = True
    finally:
        took = read_json_object(path) if is_process_zero() and path.exists() else {}
        before = took.get(stage, {"seconds": 0.0, "peak_mib": 0.0, "finished": False})
        if is_process_zero() and not before["finished"]:
            seconds = before["seconds"] + time.monotonic() - started_at
            peak = max(before["peak_mib"], peak_mib())
            took[stage] = {"seconds": round(seconds, 2), "peak_mib": round(peak, 1), "finished": finished}
            write_json(path, took)


def peak_mib() -> float:
    """Largest resident memory that this process has had, MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes there, KiB here
