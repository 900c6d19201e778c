"""SIGTERM in the middle of training loses no step; SIGINT ends a run at once."""

import hashlib
import re
import signal
import subprocess

import pytest
import tensorflow as tf

from tests import command, hosts
from tests.stages.test_loop import wait_for

CONTROL = "configs/mnist5k.py:control"
FORTY_STEPS = (
    "--config.train_epochs=19.2",
    "--config.labeled_batch_size=48",
    "--config.log_every_steps=1",
    "--config.checkpoint_every_steps=10",
    "--stages=train",
)


def weights(workdir) -> str:
    return hashlib.sha256((workdir / "model" / "weights.safetensors").read_bytes()).hexdigest()


def logged_steps(workdir) -> list[int]:
    """Of every training step that any start of the run has made, in order."""
    files = sorted((workdir / "logs").glob("events*"))
    events = [event for file in files for event in tf.compat.v1.train.summary_iterator(str(file))]
    return sorted(event.step for event in events if any(value.tag == "loss" for value in event.summary.value))


def stopped_at(output: str) -> int:
    (step,) = re.findall(r"train: stopped by SIGTERM at step (\d+); start again to continue", output)
    return int(step)


def assert_continued(output: str, step: int, workdir, undisturbed) -> None:
    assert f"train: resuming at step {step}\n" in output
    assert logged_steps(workdir) == list(range(1, 41))
    assert weights(workdir) == weights(undisturbed)


@pytest.mark.slow
def test_one_process_continues_at_the_very_step(tmp_path):
    env = command.quick_environment()
    undisturbed = command.run(tmp_path / "undisturbed", *FORTY_STEPS, config=CONTROL, env=env)
    assert undisturbed.returncode == 0, undisturbed.stderr
    workdir, log = tmp_path / "stopped", tmp_path / "log"
    with (
        log.open("w") as file,
        subprocess.Popen(
            command.arguments(workdir, *FORTY_STEPS, config=CONTROL),
            cwd=command.REPO,
            env=env,
            stdout=file,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        assert wait_for(process, (workdir / "checkpoints" / "10").exists)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 143, log.read_text()
    step = stopped_at(log.read_text())
    assert "Traceback" not in log.read_text() and 10 <= step < 40
    assert (workdir / "checkpoints" / str(step)).exists() and not (workdir / "model").exists()
    again = command.run(workdir, *FORTY_STEPS, config=CONTROL, env=env)
    assert again.returncode == 0, again.stderr
    assert_continued(again.stdout, step, workdir, tmp_path / "undisturbed")


@pytest.mark.slow
def test_a_signal_to_one_of_two_hosts_stops_both(tmp_path):
    hosts.run(tmp_path / "undisturbed", *FORTY_STEPS, count=2, devices=1, logs=tmp_path / "logs_0", config=CONTROL)
    workdir, logs = tmp_path / "stopped", tmp_path / "logs_1"
    both = [command.arguments(workdir, *FORTY_STEPS, config=CONTROL)] * 2
    with hosts.started(both, 1, logs) as processes:
        assert wait_for(processes[0], (workdir / "checkpoints" / "10").exists, 300)
        processes[1].send_signal(signal.SIGTERM)
        assert hosts.wait_all(processes) == [143, 143], "".join(log.read_text() for log in logs.iterdir())
    step = stopped_at((logs / "0.txt").read_text())
    output = hosts.run(workdir, *FORTY_STEPS, count=2, devices=1, logs=tmp_path / "logs_2", config=CONTROL)
    assert_continued(output, step, workdir, tmp_path / "undisturbed")


@pytest.mark.parametrize("number, code, words", [(signal.SIGTERM, -15, ""), (signal.SIGINT, 130, "interrupted; start")])
def test_before_training_it_ends_at_once(tmp_path, number, code, words):
    """There is nothing to save. Ctrl-C does so at any time: what a run has written is complete."""
    with subprocess.Popen(
        command.arguments(tmp_path / "w"),
        cwd=command.REPO,
        env=command.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert wait_for(process, (tmp_path / "w" / "config.json").exists)
        process.send_signal(number)
        assert process.wait() == code
        errors = process.stderr.read()
    assert words in errors and "Traceback" not in errors
