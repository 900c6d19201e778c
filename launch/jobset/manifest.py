"""The manifest of a JobSet (jobset.x-k8s.io/v1alpha2): a Job for each slice, a pod for each host, a restart of all.

A pod that ends by itself with an error fails its Job, and a restart counts. A pod that is ended from outside, by a
preemption or maintenance, carries the condition DisruptionTarget, and the restart does not count.
"""

import re

from launch.accelerators import CHIPS_PER_VM, find_generation, num_chips
from launch.errors import LaunchError
from launch.jobs import Job
from launch.jobset.settings import Settings

LONGEST_NAME = 40  # names of pods, with what controllers add, have at most 63 characters
WORKER = "worker"  # of the replicated job and of its container
# The coordinator of jax.distributed; the TPU runtime; and the runtime of several slices.
TPU_PORTS = (8482, 8471, 8080)
COORDINATOR_PORT = 8482


def jobset_name(job: Job) -> str:
    """A name of Kubernetes for a job. Raises LaunchError."""
    name = re.sub(r"[^a-z0-9]+", "-", job.name.lower()).strip("-")
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) or len(name) > LONGEST_NAME:
        raise LaunchError(
            f"name {job.name!r} makes {name!r}, which Kubernetes does not take: name another with --name, of at most "
            f"{LONGEST_NAME} letters, digits and '-', that begins with a letter"
        )
    return name


def make_manifest(settings: Settings, job: Job) -> dict:
    """The manifest of a job. Raises LaunchError."""
    name = jobset_name(job)
    rules = [failure_rule("preemption", "RestartJobSetAndIgnoreMaxRestarts", "PodFailurePolicy")]
    if settings.deadline_hours:
        rules.append(failure_rule("deadline", "FailJobSet", "DeadlineExceeded"))
    metadata: dict = {"name": name, "namespace": settings.namespace}
    if settings.queue:
        metadata["labels"] = {"kueue.x-k8s.io/queue-name": settings.queue}
    if settings.generation:
        # No two slices share a node pool, which is what a slice is on GKE.
        metadata["annotations"] = {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"}
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": metadata,
        "spec": {
            "failurePolicy": {"maxRestarts": settings.max_restarts, "rules": rules},
            "replicatedJobs": [
                {"name": WORKER, "replicas": settings.slices, "template": {"spec": job_spec(settings, job, name)}}
            ],
        },
    }


def failure_rule(name: str, action: str, reason: str) -> dict:
    """What happens to the JobSet where a Job fails for a reason."""
    return {"name": name, "action": action, "onJobFailureReasons": [reason]}


def job_spec(settings: Settings, job: Job, name: str) -> dict:
    """The Job of a slice: its pods begin and end together."""
    hosts = num_hosts(settings)
    spec = {
        "parallelism": hosts,
        "completions": hosts,
        "completionMode": "Indexed",
        "backoffLimit": 0,
        "podFailurePolicy": {
            "rules": [{"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
        },
        "template": {"spec": pod_spec(settings, job, name)},
    }
    if settings.deadline_hours:
        spec["activeDeadlineSeconds"] = round(settings.deadline_hours * 3600)
    return spec


def num_hosts(settings: Settings) -> int:
    """Hosts of a slice, or nodes with GPUs."""
    return max(1, num_chips(settings.topology) // CHIPS_PER_VM) if settings.generation else settings.nodes


def pod_spec(settings: Settings, job: Job, name: str) -> dict:
    """The pod of a host."""
    spec: dict = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": settings.grace_seconds,
        "nodeSelector": node_selector(settings),
        "containers": [container(settings, job, name)],
    }
    if settings.service_account:
        spec["serviceAccountName"] = settings.service_account
    if settings.priority:
        spec["priorityClassName"] = settings.priority
    if settings.spot:
        spec["tolerations"] = [
            {"key": "cloud.google.com/gke-spot", "operator": "Equal", "value": "true", "effect": "NoSchedule"}
        ]
    return spec


def node_selector(settings: Settings) -> dict[str, str]:
    """Labels of the nodes, by which GKE chooses them, or makes them."""
    if settings.generation:
        generation = find_generation(settings.generation)
        labels = {
            "cloud.google.com/gke-tpu-accelerator": generation.gke_label,
            "cloud.google.com/gke-tpu-topology": settings.topology,
        }
    else:
        labels = {"cloud.google.com/gke-accelerator": settings.gpu}
    if settings.spot:
        labels["cloud.google.com/gke-spot"] = "true"
    if settings.reservation:
        labels["cloud.google.com/reservation-name"] = settings.reservation
    return labels


def container(settings: Settings, job: Job, name: str) -> dict:
    """The container of a host: all its chips, or all its GPUs, in one process."""
    made: dict = {"name": WORKER, "image": settings.image, "command": job.command("python", settings.bucket)}
    if settings.generation:
        chips = min(num_chips(settings.topology), CHIPS_PER_VM)
        made["ports"] = [{"containerPort": port, "protocol": "TCP"} for port in TPU_PORTS]
        made["resources"] = {"limits": {"google.com/tpu": chips}}
        # As root, because the TPU's devices are root's. Without all privileges it still has to lock memory.
        made["securityContext"] = {"runAsUser": 0}
        if settings.privileged:
            made["securityContext"]["privileged"] = True
        else:
            made["securityContext"]["capabilities"] = {"add": ["SYS_RESOURCE"]}
    else:
        made["ports"] = [{"containerPort": COORDINATOR_PORT, "protocol": "TCP"}]
        made["resources"] = {"limits": {"nvidia.com/gpu": settings.gpus_per_node}}
        made["securityContext"] = {"runAsNonRoot": True}
        made["env"] = distributed_environment(settings, name)
    return made


def distributed_environment(settings: Settings, name: str) -> list[dict]:
    """What jax.distributed has to be told where there are no TPUs; the first pod is the coordinator."""
    index = {"fieldRef": {"fieldPath": "metadata.annotations['batch.kubernetes.io/job-completion-index']"}}
    return [
        # The names of pods are those of the JobSet's headless service.
        {"name": "JAX_COORDINATOR_ADDRESS", "value": f"{name}-{WORKER}-0-0.{name}:{COORDINATOR_PORT}"},
        {"name": "JAX_NUM_PROCESSES", "value": str(settings.nodes)},
        {"name": "JAX_PROCESS_ID", "valueFrom": index},
    ]
