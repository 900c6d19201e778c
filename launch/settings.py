"""Settings of a TPU and of its runs, read from TOML files; a mistake there is an error of one line."""

import dataclasses
import difflib
import pathlib
import re
import shlex
import tomllib
import typing


class LaunchError(Exception):
    """An error that stops the launcher; its message is one line on the terminal."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a TPU and of what is run on it.

    Attributes:
      name: of the TPU, and of the queued resource.
      project: of Google Cloud.
      zone: such as us-central2-b.
      accelerator_type: such as v4-32.
      runtime_version: the software of the TPU VM.
      bucket: folder of all workdirs, seen by every worker: gs://BUCKET/FOLDER.
      repository: what the workers clone; it must not ask for a password.
      spot: cheaper, and preempted at any time.
      queued: wait in Google's queue until there is capacity, instead of failing.
      python: of the workers, with everything installed; empty: set up an environment.
      prepare: shell command that every set-up ends with, such as one that mounts the data. It may run more than once.
      create_flags: more of gcloud's, for the TPU.
      ssh_flags: more of gcloud's, for ssh.
      poll_seconds: between two looks at the TPU.
    """

    name: str
    project: str
    zone: str
    accelerator_type: str
    runtime_version: str
    bucket: str
    repository: str
    spot: bool = False
    queued: bool = False
    python: str = ""
    prepare: str = ""
    create_flags: list[str] = dataclasses.field(default_factory=list)
    ssh_flags: list[str] = dataclasses.field(default_factory=list)
    poll_seconds: float = 30.0

    def __post_init__(self):
        if not self.bucket.startswith(("gs://", "/")):
            raise LaunchError(f"bucket = {self.bucket!r} must begin with gs://, or with / where every worker mounts it")
        if not 0 < self.poll_seconds < float("inf"):
            raise LaunchError(f"poll_seconds = {self.poll_seconds} must be above 0")


@dataclasses.dataclass(frozen=True)
class Job:
    """One command line of ns_jax.main.

    Attributes:
      config: as in --config.
      name: of the workdir in the bucket; by default that of the config.
      flags: more of ns_jax.main's; {bucket} stands for the bucket of the settings.
    """

    config: str
    name: str = ""
    flags: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self):
        if not self.name:
            stem = pathlib.PurePath(self.config).name.replace(".py", "", 1)
            object.__setattr__(self, "name", re.sub(r"[^\w.-]", "-", stem))
        if not re.fullmatch(r"\w[\w.-]*", self.name, re.ASCII):
            raise LaunchError(f"name {self.name!r}: letters, digits, '_', and after the first also '.' and '-'")

    def command(self, settings: Settings) -> str:
        """The command, for a shell in the clone on a worker."""
        bucket = settings.bucket.rstrip("/")
        flags = [flag.replace("{bucket}", bucket) for flag in self.flags]
        return shlex.join(
            [
                settings.python or ".venv/bin/python",
                "-m",
                "ns_jax.main",
                f"--config={self.config}",
                f"--workdir={bucket}/{self.name}",
                "--distributed",
                *flags,
            ]
        )


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Runs in order. `flags` are those of each; a run is a table with the fields of Job."""

    runs: list[dict]
    flags: list[str] = dataclasses.field(default_factory=list)


TYPES = {
    bool: "true or false",
    float: "a number",
    str: "a string",
    list[str]: "a list of strings",
    list[dict]: "a list of tables",
}


def has_type(value, wanted: type) -> bool:
    """Whether a value of a TOML file is of one of TYPES."""
    if elements := typing.get_args(wanted):
        return type(value) is list and all(type(element) is elements[0] for element in value)
    return type(value) is wanted


def read_toml(path: str, kind: type):
    """Reads a TOML file as a dataclass. Raises LaunchError."""
    try:
        table = tomllib.loads(pathlib.Path(path).read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LaunchError(f"{path}: {error}") from None
    return from_table(path, table, kind)


def from_table(where: str, table: dict, kind: type):
    """Makes a dataclass of a table whose keys are its fields.

    Args:
      where: the table comes from, for messages.
      table: of a TOML file.
      kind: the dataclass.

    Raises:
      LaunchError: a key is unknown, missing or of another type; or the dataclass refuses a value.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key, value in table.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1, cutoff=0)[0]
            raise LaunchError(f"{where}: unknown key {key!r}; the nearest one is {near!r}")
        wanted = fields[key].type
        if wanted is float and type(value) is int:
            value = float(value)
        if not has_type(value, wanted):
            raise LaunchError(f"{where}: {key} = {value!r} must be {TYPES[wanted]}")
    for name, field in fields.items():
        if name not in table and field.default is field.default_factory is dataclasses.MISSING:
            near = difflib.get_close_matches(name, table, n=1, cutoff=0)
            raise LaunchError(f"{where}: missing key {name!r}" + (f"; the nearest one is {near[0]!r}" if near else ""))
    try:
        return kind(**table)
    except LaunchError as error:
        raise LaunchError(f"{where}: {error}") from None


def read_jobs(path: str) -> list[Job]:
    """Reads the runs of a recipe. Raises LaunchError."""
    recipe = read_toml(path, Recipe)
    jobs = [from_table(f"{path}, run {number}", table, Job) for number, table in enumerate(recipe.runs, 1)]
    names = [job.name for job in jobs]
    if not names:
        raise LaunchError(f"{path}: no [[runs]]")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise LaunchError(f"{path}: two runs have the name {twice!r}, and so the same workdir")
    return [dataclasses.replace(job, flags=[*recipe.flags, *job.flags]) for job in jobs]
