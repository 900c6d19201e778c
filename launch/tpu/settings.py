"""The settings of a TPU and of what is run on it."""

import dataclasses
import re

from launch.accelerators import check_accelerator_type
from launch.errors import LaunchError
from launch.toml_files import require_above_zero, require_filled


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a TPU and of what is run on it.

    Attributes:
      name: of the TPU, and of the queued resource.
      project: of Google Cloud.
      zone: such as us-central2-b.
      accelerator_type: such as v4-32, of each slice.
      runtime_version: the software of the TPU VM.
      bucket: folder of all workdirs, seen by every worker: gs://BUCKET/FOLDER.
      repository: what the workers clone; it must not ask for a password. Not with `image`.
      image: of a container that has everything; nothing is installed on the workers then.
      slices: several are joined over the data-centre network; they need `queued`.
      spot: cheaper, and preempted at any time.
      queued: wait in Google's queue until there is capacity, instead of failing.
      python: of the workers, with everything installed; empty: set up an environment.
      prepare: shell command that every set-up ends with, such as one that mounts the data. It may run more than once.
      create_flags: more of gcloud's, for the TPU.
      ssh_flags: more of gcloud's, for ssh.
      docker_flags: more of `docker run`'s, with `image`.
      batch_size: workers that are reached by ssh at a time.
      poll_seconds: between two looks at the TPU and at the bucket.
      look_minutes: without progress, after which ssh tells whether the processes are there.
      stall_minutes: without progress, after which the run is ended and counts as failed. Compiling is no progress.
      failures: without progress since the one before, after which no other start is tried.
      delete_at_end: delete the TPU when the run or the recipe has ended, however it did.
    """

    name: str
    project: str
    zone: str
    accelerator_type: str
    runtime_version: str
    bucket: str
    repository: str = ""
    image: str = ""
    slices: int = 1
    spot: bool = False
    queued: bool = False
    python: str = ""
    prepare: str = ""
    create_flags: list[str] = dataclasses.field(default_factory=list)
    ssh_flags: list[str] = dataclasses.field(default_factory=list)
    docker_flags: list[str] = dataclasses.field(default_factory=list)
    batch_size: int = 64
    poll_seconds: float = 30.0
    look_minutes: float = 5.0
    stall_minutes: float = 90.0
    failures: int = 3
    delete_at_end: bool = False

    def __post_init__(self):
        require_filled(self, "name", "project", "zone", "accelerator_type", "runtime_version", "bucket")
        require_above_zero(self, "slices", "batch_size", "poll_seconds", "look_minutes", "stall_minutes", "failures")
        if not re.fullmatch(r"[a-z]+-[a-z]+\d+-[a-z]", self.zone):
            raise LaunchError(f"zone = {self.zone!r} is no zone, such as us-central2-b")
        check_accelerator_type(self.accelerator_type)
        if not self.bucket.startswith(("gs://", "/")):
            raise LaunchError(f"bucket = {self.bucket!r} must begin with gs://, or with / where every worker mounts it")
        if bool(self.image) == bool(self.repository):
            raise LaunchError("name either an image, or a repository that the workers clone")
        if self.image and self.python:
            raise LaunchError("python is of workers without an image: leave it out, or the image")
        if self.slices > 1 and not self.queued:
            raise LaunchError(f"slices = {self.slices} need queued = true: only queued resources have several")

    @property
    def nodes(self) -> list[str]:
        """Names of the slices."""
        return [self.name] if self.slices == 1 else [f"{self.name}-{number}" for number in range(self.slices)]
