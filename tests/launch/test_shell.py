"""The launchers for Slurm and for a machine with a GPU, among stand-ins for the programs that they start."""

import os
import shlex
import signal
import subprocess
import sys

import pytest

from tests import hosts
from tests.conftest import REPO
from tests.launch.cloud import readme_commands, until


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A folder first on PATH for stand-ins, each of which prints its arguments unless it is `silent`."""

    def add(name: str, more: str = "", silent: bool = False) -> str:
        path = tmp_path / name
        said = "" if silent else f'echo "{name} $*"'
        path.write_text(f"#!/bin/bash\n{said}\n{more}\n")
        path.chmod(0o755)
        return str(path)

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return add


@pytest.fixture
def slurm(programs, monkeypatch):
    """The programs of a Slurm job: sbatch runs the script, here bash; srun the command after it."""
    programs("srun", 'while [[ $1 = --* ]]; do shift; done; exec "$@"')
    programs("scontrol")
    programs("squeue", "echo RUNNING", silent=True)
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_NTASKS_PER_NODE", "SLURM_GPUS_ON_NODE", "JAX_LOCAL_DEVICE_IDS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    monkeypatch.setenv("PYTHON", programs("python"))
    (command,) = [command for command in readme_commands("sbatch ") if "--ntasks-per-node" not in command]
    return shlex.split(command)[1:]


def run_script(arguments: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(["bash", *arguments], cwd=REPO, capture_output=True, text=True)


def test_slurm(programs, slurm, monkeypatch):
    process = run_script(slurm)
    assert process.returncode == 0, process.stderr
    config, workdir, flag = slurm[1:]
    ran = f"python -m ns_jax.main --config={config} --workdir={workdir} --distributed {flag}"
    assert process.stdout.splitlines()[1:] == [ran]
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "8")
    assert run_script(slurm).stdout.startswith("srun --kill-on-bad-exit=1 --cpus-per-task=8 ")
    programs("python", "exit 7")
    process = run_script(slurm)
    assert process.returncode == 7 and "requeue" not in process.stdout
    assert run_script(["launch/slurm.sh", "config"]).returncode == 2


def test_slurm_with_a_process_a_node_has_all_its_gpus(programs, slurm, monkeypatch):
    programs("python", "echo devices: $JAX_LOCAL_DEVICE_IDS")
    assert "devices:\n" in run_script(slurm).stdout
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "1")
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "4")
    assert "devices: 0,1,2,3\n" in run_script(slurm).stdout
    (command,) = [command for command in readme_commands("sbatch ") if "--ntasks-per-node" in command]
    _, tasks, cpus, *script = shlex.split(command)
    assert (tasks, cpus) == ("--ntasks-per-node=1", "--cpus-per-task=64") and script[0] == slurm[0]
    assert "devices: 0,1,2,3\n" in run_script(script).stdout


# What a run does that has had a SIGTERM: it saves a checkpoint, which takes a while, and ends with 143.
SAVES = """trap 'sleep 0.2; echo saved; exit 143' TERM
echo $$ > $STEP
{signal}
for i in $(seq 100); do sleep 0.1; done"""


def test_slurm_saves_a_checkpoint_and_is_queued_again_when_its_time_is_over(programs, slurm, monkeypatch, tmp_path):
    monkeypatch.setenv("STEP", str(tmp_path / "step"))
    programs("scancel", "kill -TERM $(cat $STEP)")
    programs("python", SAVES.format(signal="kill -USR1 $(ps -o ppid= $$)"))
    process = run_script(slurm)
    assert process.returncode == 143
    assert process.stdout.splitlines()[2:] == ["scancel --signal=TERM 5", "saved", "scontrol requeue 5"]


def test_slurm_is_queued_again_after_a_preemption_with_grace(programs, slurm, monkeypatch, tmp_path):
    monkeypatch.setenv("STEP", str(tmp_path / "step"))
    programs("python", SAVES.format(signal="kill -TERM $$"))
    process = run_script(slurm)
    assert process.returncode == 143 and process.stdout.splitlines()[2:] == ["saved", "scontrol requeue 5"]
    programs("squeue", "echo COMPLETING", silent=True)  # somebody has cancelled it
    process = run_script(slurm)
    assert process.returncode == 143 and "requeue" not in process.stdout


@pytest.mark.slow
def test_slurm_with_two_real_processes(programs, slurm, monkeypatch, tmp_path):
    """Two processes of ns_jax, as srun would start them: told that the time is over, and started again."""
    programs(
        "srun",
        """while [[ $1 = --* ]]; do shift; done
export SLURM_STEP_NODELIST=localhost SLURM_NTASKS=2
for number in 0 1; do SLURM_PROCID=$number SLURM_LOCALID=$number "$@" & echo $! > $STEP.$number; done
wait -n; first=$?
wait -n; second=$?
exit $((first > second ? first : second))""",
    )
    programs("scancel", "kill -TERM $(cat $STEP.1)")  # one is enough: all hosts stop at the same step
    monkeypatch.setenv("STEP", str(tmp_path / "step"))
    monkeypatch.setenv("PYTHON", sys.executable)
    for name, value in (hosts.command.quick_environment() | {"JAX_PLATFORMS": "cpu"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_JOB_ID", str(hosts.free_port()))  # from which jax makes the coordinator's port
    workdir = tmp_path / "run"
    arguments = ["launch/slurm.sh", "configs/mnist5k.py:smoke", str(workdir)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(["bash", *arguments], cwd=REPO, stdout=log, stderr=subprocess.STDOUT)
    checkpoints = workdir / "iteration_0" / "checkpoints"
    until(lambda: (checkpoints.exists() and list(checkpoints.iterdir())) or process.poll() is not None, 300)
    process.send_signal(signal.SIGUSR1)
    code = process.wait(120)
    output = (tmp_path / "log").read_text()
    assert code == 143 and "scontrol requeue" in output and "stopped by SIGTERM at step" in output, output
    again = run_script(arguments)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "resuming at step" in again.stdout and f"report: {workdir}/report" in again.stdout


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
