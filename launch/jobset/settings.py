"""The settings of a JobSet on Google Kubernetes Engine."""

import dataclasses
import re

from launch.accelerators import check_topology, find_generation
from launch.errors import LaunchError
from launch.toml_files import require_above_zero, require_filled


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a JobSet.

    Attributes:
      image: of the container, with everything installed; best by its digest, which never changes.
      bucket: folder of all workdirs: gs://BUCKET/FOLDER.
      generation: of the TPUs, such as v5e; '' for GPUs.
      topology: of a slice in chips, such as 16x16.
      slices: several are joined over the data-centre network.
      gpus_per_node: '' generation: NVIDIA GPUs of a node.
      nodes: '' generation: nodes with GPUs.
      gpu: '' generation: label of the nodes, such as nvidia-h100-80gb.
      max_restarts: after failures; preemptions do not count.
      grace_seconds: from SIGTERM to SIGKILL: the run saves a checkpoint.
      deadline_hours: since the last start, after which the JobSet fails, so that a run that hangs ends; 0 for none.
      spot: nodes that are cheaper, and preempted at any time.
      privileged: as what the container runs; without it, GKE needs nodes of version 1.28 or later.
      namespace: of Kubernetes.
      service_account: of Kubernetes, which may read and write the bucket.
      queue: local queue of Kueue; XPK's clusters have multislice-queue.
      priority: name of a priority class; XPK's clusters have very-low to very-high.
      reservation: name of a reservation of Google Cloud.
    """

    image: str
    bucket: str
    generation: str = ""
    topology: str = ""
    slices: int = 1
    gpu: str = ""
    gpus_per_node: int = 8
    nodes: int = 1
    max_restarts: int = 10
    grace_seconds: int = 120
    deadline_hours: float = 0.0
    spot: bool = False
    privileged: bool = True
    namespace: str = "default"
    service_account: str = ""
    queue: str = ""
    priority: str = ""
    reservation: str = ""

    def __post_init__(self):
        require_filled(self, "image", "bucket", "namespace")
        require_above_zero(self, "slices", "gpus_per_node", "nodes", "grace_seconds")
        for name in ("max_restarts", "deadline_hours"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise LaunchError(f"{name} = {getattr(self, name)} must be 0 or more")
        if not re.fullmatch(r"gs://[a-z0-9][\w.-]+(/[^/]+)*/?", self.bucket):
            raise LaunchError(f"bucket = {self.bucket!r} is no folder of a bucket, such as gs://my-bucket/ns_jax")
        if not re.fullmatch(r"[a-z0-9][\w./:-]*(@sha256:[0-9a-f]+)?", self.image):
            raise LaunchError(f"image = {self.image!r} is no name of an image")
        if bool(self.generation) == bool(self.gpu):
            raise LaunchError("name either the generation of TPUs, or a gpu")
        if self.generation:
            generation = find_generation(self.generation)
            check_topology(generation, self.topology)
            if self.slices > 1 and self.generation == "v3":
                raise LaunchError(f"slices = {self.slices}: v3 cannot join several")
