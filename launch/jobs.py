"""Runs of ns_jax.main: a config, a name, flags; and several of them in a recipe."""

import dataclasses
import pathlib
import re

from launch.errors import LaunchError
from launch.toml_files import from_table, read_toml


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

    def command(self, python: str, bucket: str) -> list[str]:
        """The command for every host, which runs in the clone.

        Args:
          python: the program.
          bucket: folder of all workdirs.
        """
        bucket = bucket.rstrip("/")
        return [
            python,
            "-m",
            "ns_jax.main",
            f"--config={self.config}",
            f"--workdir={bucket}/{self.name}",
            "--distributed",
            *(flag.replace("{bucket}", bucket) for flag in self.flags),
        ]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Runs in order. `flags` are those of each; a run is a table with the fields of Job."""

    runs: list[dict]
    flags: list[str] = dataclasses.field(default_factory=list)


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
