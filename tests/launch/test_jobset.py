"""The manifest of a JobSet.

Its fields are validated by the models of JobSet, Job and Pod in kubeflow-trainer-api, which are generated from the
OpenAPI schemas of JobSet v1alpha2 and Kubernetes; no server has accepted it.
"""

import json
import shlex
import subprocess
import sys

import pytest
import yaml

from launch.accelerators import GENERATIONS, num_chips
from launch.errors import LaunchError
from launch.jobs import Job
from launch.jobset.__main__ import main
from launch.jobset.manifest import jobset_name, make_manifest
from launch.jobset.settings import Settings
from launch.toml_files import read_toml
from tests.conftest import REPO
from tests.launch.cloud import readme_commands

JOB = Job("configs/b0_teacher.py", flags=["--config.teacher={bucket}/x"])
BUCKET = {"image": "me/ns_jax:1", "bucket": "gs://my-bucket/runs"}
EVERY_KEY = BUCKET | {
    "image": "me/ns_jax@sha256:0ab",
    "generation": "v5p",
    "topology": "8x8x8",
    "slices": 4,
    "max_restarts": 3,
    "grace_seconds": 60,
    "deadline_hours": 24.0,
    "spot": True,
    "privileged": False,
    "namespace": "mine",
    "service_account": "runner",
    "queue": "multislice-queue",
    "priority": "medium",
    "reservation": "ours",
}
GPUS = BUCKET | {"gpu": "nvidia-h100-80gb", "nodes": 2}


def parts(manifest: dict) -> tuple[dict, dict, dict]:
    """(replicated job, pod, container)."""
    (replicated,) = manifest["spec"]["replicatedJobs"]
    pod = replicated["template"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return replicated, pod, container


def test_several_slices():
    manifest = make_manifest(Settings(**EVERY_KEY), JOB)
    replicated, pod, container = parts(manifest)
    job = replicated["template"]["spec"]
    assert replicated["replicas"] == 4 and job["parallelism"] == job["completions"] == 8 * 8 * 8 // 4
    assert job["backoffLimit"] == 0 and pod["restartPolicy"] == "Never"  # the JobSet restarts all slices together
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5p-slice",
        "cloud.google.com/gke-tpu-topology": "8x8x8",
        "cloud.google.com/gke-spot": "true",
        "cloud.google.com/reservation-name": "ours",
    }
    assert container["resources"] == {"limits": {"google.com/tpu": 4}}
    assert container["command"] == [
        *("python", "-m", "ns_jax.main", "--config=configs/b0_teacher.py", "--workdir=gs://my-bucket/runs/b0_teacher"),
        *("--distributed", "--config.teacher=gs://my-bucket/runs/x"),
    ]
    assert manifest["metadata"]["name"] == "b0-teacher"
    policy = manifest["spec"]["failurePolicy"]
    assert policy["maxRestarts"] == 3 and [rule["name"] for rule in policy["rules"]] == ["preemption", "deadline"]
    assert job["activeDeadlineSeconds"] == 24 * 3600


def test_gpus_are_told_who_the_coordinator_is():
    replicated, pod, container = parts(make_manifest(Settings(**GPUS), JOB))
    assert replicated["template"]["spec"]["completions"] == 2
    assert container["resources"] == {"limits": {"nvidia.com/gpu": 8}}
    environment = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert environment == {
        "JAX_COORDINATOR_ADDRESS": "b0-teacher-worker-0-0.b0-teacher:8482",
        "JAX_NUM_PROCESSES": "2",
        "JAX_PROCESS_ID": None,  # from the pod's number
    }
    assert "runAsUser" not in container["securityContext"]


@pytest.mark.parametrize("generation", GENERATIONS)
def test_every_topology_has_as_many_chips_as_its_pods_ask_for(generation):
    for topology in GENERATIONS[generation].topologies:
        settings = Settings(**BUCKET, generation=generation, topology=topology)
        replicated, _, container = parts(make_manifest(settings, JOB))
        asked = replicated["template"]["spec"]["completions"] * container["resources"]["limits"]["google.com/tpu"]
        assert asked == num_chips(topology), topology


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"image": ""}, "image is empty"),
        ({"image": "My Image"}, "image = 'My Image' is no name of an image"),
        ({"bucket": "/mnt/bucket"}, "bucket = '/mnt/bucket' is no folder of a bucket, such as gs://my-bucket/ns_jax"),
        ({"bucket": "gs://"}, "bucket = 'gs://' is no folder of a bucket"),
        ({"topology": "16x17"}, "topology '16x17': v5e has no such slice; near are 4x8, 8x8, 8x16, 16x16"),
        ({"topology": "large"}, "topology 'large': v5e has no such slice"),
        ({"generation": "v9"}, "there is no TPU generation 'v9'; known are v3, v4, v5e, v5p, v6e"),
        ({"gpu": "nvidia-l4"}, "name either the generation of TPUs, or a gpu"),
        ({"slices": 0}, "slices = 0 must be above 0"),
        ({"slices": 2, "generation": "v3"}, "slices = 2: v3 cannot join several"),
        ({"max_restarts": -1}, "max_restarts = -1 must be 0 or more"),
        ({"slices": 1.5}, "slices = 1.5 must be a whole number"),
        ({"zone": "us"}, "unknown key 'zone'"),
    ],
)
def test_a_wrong_settings_file_is_one_line(tmp_path, changes, error):
    path = tmp_path / "settings.toml"
    values = BUCKET | {"generation": "v5e", "topology": "16x16"} | changes
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()))
    with pytest.raises(LaunchError) as caught:
        main([f"--settings={path}", "--config=configs/b0_teacher.py"])
    message = str(caught.value)
    assert message.startswith(f"{path}: {error}") and "\n" not in message


def test_names_that_kubernetes_does_not_take():
    assert jobset_name(Job("configs/mnist5k.py:smoke")) == "mnist5k-smoke"
    for name in ("5k", "a" * 41, "_"):
        with pytest.raises(LaunchError, match="name another with --name"):
            jobset_name(Job("a.py", name))


def test_the_readmes_commands(capsys, monkeypatch):
    monkeypatch.chdir(REPO)
    commands = readme_commands("python -m launch.jobset ")
    assert len(commands) == 2
    for command in commands:
        command, _, kubectl = command.partition(" | ")
        assert kubectl == "kubectl apply -f -"
        main(shlex.split(command.replace("launch/jobset.toml", "launch/jobset.example.toml"))[3:])
        manifest = yaml.safe_load(capsys.readouterr().out)
        assert manifest["kind"] == "JobSet" and parts(manifest)[2]["command"][2] == "ns_jax.main"


def test_an_error_is_one_line_of_the_command(tmp_path):
    command = [sys.executable, "-m", "launch.jobset", f"--settings={tmp_path}/none.toml", "--config=a.py"]
    process = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert process.returncode == 2 and process.stderr.startswith("error: ") and process.stderr.count("\n") == 1


@pytest.mark.slow  # the models are a thousand modules
def test_the_schema():
    from kubeflow_trainer_api.models.jobset_v1alpha2_job_set import JobsetV1alpha2JobSet

    examples = [read_toml(str(REPO / "launch" / f"jobset{kind}.example.toml"), Settings) for kind in ("", ".gpu")]
    for settings in (*examples, Settings(**EVERY_KEY), Settings(**GPUS)):
        manifest = make_manifest(settings, JOB)
        assert JobsetV1alpha2JobSet.from_dict(manifest).to_dict() == manifest
        # The models pass over fields that they do not know, and refuse values of another type.
        job = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]
        job["paralelism"] = job["parallelism"]
        assert JobsetV1alpha2JobSet.from_dict(manifest).to_dict() != manifest
        job["parallelism"] = "4"
        with pytest.raises(ValueError, match="parallelism"):
            JobsetV1alpha2JobSet.from_dict(manifest)
