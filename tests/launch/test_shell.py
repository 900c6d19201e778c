"""The launchers for Slurm and for a machine with a GPU, among stand-ins for the programs that they start."""

import os
import shlex
import subprocess

import pytest

from tests.conftest import REPO
from tests.launch.cloud import readme_commands


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A folder first on PATH for stand-ins, each of which prints its arguments."""

    def add(name: str, more: str = "") -> str:
        path = tmp_path / name
        path.write_text(f'#!/bin/bash\necho "{name} $*"\n{more}\n')
        path.chmod(0o755)
        return str(path)

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return add


def test_slurm(programs, monkeypatch):
    """sbatch runs the script, here bash; srun the command after it."""
    programs("srun", 'while [[ $1 = --* ]]; do shift; done; exec "$@"')
    programs("scontrol")
    monkeypatch.setenv("PYTHON", programs("python"))
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    (command,) = readme_commands("sbatch ")
    arguments = shlex.split(command)[1:]
    process = subprocess.run(["bash", *arguments], cwd=REPO, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    config, workdir, flag = arguments[1:]
    ran = f"python -m ns_jax.main --config={config} --workdir={workdir} --distributed {flag}"
    assert process.stdout.splitlines()[1] == ran
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "8")
    process = subprocess.run(["bash", *arguments], cwd=REPO, capture_output=True, text=True)
    assert process.stdout.startswith("srun --kill-on-bad-exit=1 --cpus-per-task=8 ")
    assert process.stdout.splitlines()[1] == ran
    programs("python", "kill -USR1 $(ps -o ppid= $$); sleep 1")
    process = subprocess.run(["bash", *arguments], cwd=REPO, capture_output=True, text=True)
    assert "scontrol requeue 5" in process.stdout
    programs("python", "exit 7")
    assert subprocess.run(["bash", *arguments], cwd=REPO, capture_output=True).returncode == 7
    assert subprocess.run(["bash", "launch/slurm.sh", "config"], cwd=REPO, capture_output=True).returncode == 2


def test_gpu_installs_what_is_missing(programs, tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHON", raising=False)
    monkeypatch.chdir(tmp_path)
    inner = programs("inner", "case $2 in from*) [ -e installed ];; pip) [ ! -e offline ] && touch installed;; esac")
    programs("python3", f"mkdir -p .venv/bin; cp {inner} .venv/bin/python")

    def start() -> subprocess.CompletedProcess:
        return subprocess.run([REPO / "launch" / "gpu.sh", "a.py", "b"], capture_output=True, text=True)

    (tmp_path / "offline").touch()
    assert start().returncode
    (tmp_path / "offline").unlink()
    process = start()
    assert process.returncode == 0 and "-m pip install" in process.stdout
    assert process.stdout.splitlines()[-1].endswith("-m ns_jax.main --config=a.py --workdir=b")
    assert "pip" not in start().stdout


def test_gpu(programs, monkeypatch):
    monkeypatch.setenv("PYTHON", programs("python"))
    (command,) = readme_commands("launch/gpu.sh ")
    process = subprocess.run(shlex.split(command), cwd=REPO, capture_output=True, text=True)
    arguments = shlex.split(command)[1:]
    assert process.stdout == f"python -m ns_jax.main --config={arguments[0]} --workdir={arguments[1]} {arguments[2]}\n"
    assert subprocess.run(["launch/gpu.sh", "config"], cwd=REPO, capture_output=True).returncode == 2
