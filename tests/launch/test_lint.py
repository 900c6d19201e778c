"""What is not Python: scripts, the Dockerfile, SkyPilot's task."""

import os
import pathlib
import shlex
import shutil
import subprocess
import sys

import pytest
import yaml

from launch.jobs import Job
from launch.toml_files import read_toml
from launch.tpu import scripts
from launch.tpu.settings import Settings
from tests.conftest import REPO
from tests.launch.cloud import readme_commands


def program(name: str) -> str:
    """A program that a package of the extra `test` has installed beside the Python."""
    path = shutil.which(name, path=f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}")
    assert path, f"{name} is not installed: pip install -e '.[test]'"
    return path


def worker_scripts() -> dict[str, str]:
    """Every script that runs on a worker, with a repository and with an image."""
    cloned = read_toml(str(REPO / "launch" / "settings.example.toml"), Settings)
    values = vars(cloned) | {"repository": "", "image": "us-docker.pkg.dev/p/r/ns_jax:1", "bucket": "/mnt/bucket"}
    job, made = Job("configs/b0_teacher.py"), {}
    for kind, settings in (("repository", cloned), ("image", Settings(**values))):
        made[f"setup, {kind}"] = scripts.setup(settings, "0" * 40)
        made[f"start, {kind}"] = start = scripts.start(settings, job, "1")
        made[f"run, {kind}"] = start.split("<<\\END\n")[1].split("\nEND\n")[0]
        made[f"stop, {kind}"] = scripts.stop(settings)
    others = {"first": scripts.mark_first(), "going on": scripts.going_on(), "status": scripts.status("a")}
    return made | others | {"read": scripts.read_start("a")}


@pytest.mark.parametrize("name", worker_scripts())
def test_shellcheck_of_what_runs_on_workers(name):
    # Names in a folder that are known; a path with ~ that is to stay one.
    command = [program("shellcheck"), "--shell=bash", "--severity=warning", "--exclude=SC2088", "-"]
    done = subprocess.run(command, input=worker_scripts()[name], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_shellcheck_of_the_scripts():
    paths = sorted(str(path) for path in (REPO / "launch").glob("*.sh"))
    done = subprocess.run([program("shellcheck"), *paths], capture_output=True, text=True)
    assert len(paths) == 2 and done.returncode == 0, done.stdout


def test_hadolint_of_the_dockerfile():
    done = subprocess.run([program("hadolint"), str(REPO / "Dockerfile")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_what_the_image_has():
    """Nothing but what is named; settings, which may name what is private, stay out."""
    lines = [line for line in (REPO / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    named = {line[1:] for line in lines if line.startswith("!") and "*" not in line}
    assert named >= {"ns_jax", "configs", "setup.py", "pyproject.toml", "README.md", "LICENSE"}
    assert all((REPO / name).exists() for name in named)
    assert lines.index("launch/*.toml") > lines.index("!launch")
    copied = [line.split()[1:-1] for line in (REPO / "Dockerfile").read_text().splitlines() if line[:5] == "COPY "]
    assert all(source == "." or source.split("/")[0] in named for sources in copied for source in sources)


def test_the_images_accelerators_are_extras():
    """What the README and the Dockerfile give as ACCELERATOR is something that setup.py can install."""
    setup = (REPO / "setup.py").read_text()
    commands = readme_commands("docker build ")
    given = [flag.split("=")[2] for command in commands for flag in shlex.split(command) if "ACCELERATOR=" in flag]
    assert given == ["tpu", "cuda12"]
    for accelerator in given:
        assert f'"{accelerator}": [' in setup
    for argument in ("ACCELERATOR", "UV_EXCLUDE_NEWER"):
        assert f"\nARG {argument}=" in (REPO / "Dockerfile").read_text()


def test_skypilots_task(tmp_path):
    task = yaml.safe_load((REPO / "launch" / "skypilot.yaml").read_text())
    (command,) = readme_commands("sky jobs launch ")
    assert {text.split("=")[0] for text in shlex.split(command) if "=" in text} == task["envs"].keys()
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/bash\necho "$*"\nenv | grep ^JAX_ | sort\n')
    python.chmod(0o755)
    given = {"SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2", "SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_RANK": "1"}
    environment = {"PATH": os.environ["PATH"]} | task["envs"] | given
    done = subprocess.run(["bash", "-c", task["run"]], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        f"-m ns_jax.main --config={task['envs']['CONFIG']} --workdir={task['envs']['WORKDIR']} --distributed",
        "JAX_COORDINATOR_ADDRESS=10.0.0.1:8482",
        "JAX_NUM_PROCESSES=2",
        "JAX_PROCESS_ID=1",
    ]
    subprocess.run(["bash", "-n", "-c", task["setup"]], check=True)
