"""Whether all hosts run the same thing, asked before they begin to wait for each other."""

import dataclasses
import hashlib
import json
import pathlib
import platform
import socket
import time

import jax

from ns_jax.errors import AgreedError
from ns_jax.parallel.hosts import barrier, verdict_of_process_zero

CLOCKS_APART_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class HostRecord:
    """What a host tells of itself.

    Attributes:
      host: its name.
      process: its number.
      source: fingerprint of the package's source files.
      python: version.
      jax: version.
      config: fingerprint of the experiment.
      workdir: of the run.
      clock: seconds since 1970.
    """

    host: str
    process: int
    source: str
    python: str
    jax: str
    config: str
    workdir: str
    clock: float

    @property
    def name(self) -> str:
        return f"{self.host} (process {self.process})"


# Field, what a host has of it, and what to do.
MUST_BE_EQUAL = (
    ("source", "other source code of ns_jax", "install the same commit on all"),
    ("python", "another Python", "install the same on all"),
    ("jax", "another jax", "install the same on all"),
    ("workdir", "another --workdir", "give the same command on all"),
    ("config", "another config", "give the same command on all"),
)


def source_fingerprint() -> str:
    """12 hex digits over names and contents of all of the package's Python files."""
    folder = pathlib.Path(__file__).parent.parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return digest.hexdigest()[:12]


def disagreement(records: list[HostRecord]) -> str | None:
    """One line about the first thing in which hosts differ, or None. `records` are in the order of processes."""
    for field, what, remedy in MUST_BE_EQUAL:
        values = [getattr(record, field) for record in records]
        # Where most are alike, the others are the odd ones; process 0 is right where there is no majority.
        usual = max(values, key=lambda value: (values.count(value), value == values[0]))
        odd = [record for record in records if getattr(record, field) != usual]
        if odd:
            like = next(record for record in records if getattr(record, field) == usual)
            verb = f"and {len(odd) - 1} more have" if len(odd) > 1 else "has"
            return (
                f"host {odd[0].name} {verb} {what} than host {like.name} ({getattr(odd[0], field)} there, "
                f"{usual} here): {remedy}"
            )
    first, last = min(records, key=lambda record: record.clock), max(records, key=lambda record: record.clock)
    if last.clock - first.clock > CLOCKS_APART_SECONDS:
        return (
            f"the clock of host {last.name} is {last.clock - first.clock:.0f} s ahead of that of host {first.name}: "
            "set them"
        )
    return None


def _judge(records: list[bytes]) -> str:
    """The line about the records of all hosts, as JSON, in the order of processes; '' where they agree."""
    return disagreement([HostRecord(**json.loads(record)) for record in records]) or ""


def check_agreement(config_fingerprint: str, workdir: str) -> None:
    """Compares all hosts; does nothing where there is one process.

    Raises:
      UserError: on every host, where two of them differ; names both and what they have.
    """
    if jax.process_count() == 1:
        return
    source = source_fingerprint()
    barrier("agreement: all hosts are here")  # else the slowest to start would seem to have a fast clock
    record = HostRecord(
        socket.gethostname(),
        jax.process_index(),
        source,
        platform.python_version(),
        jax.__version__,
        config_fingerprint[:12],
        workdir[:1024],
        time.time(),
    )
    record_as_json = json.dumps(dataclasses.asdict(record), ensure_ascii=False)
    if problem := verdict_of_process_zero("agreement of all hosts", record_as_json, _judge):
        raise AgreedError(problem)
