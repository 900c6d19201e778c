"""Several processes, as on several hosts, give what one gives."""

import re

import pytest

from tests import command, hosts
from tests.stages.alike import assert_same_runs, assert_same_weights
from tests.stages.test_loop import wait_for

pytestmark = pytest.mark.slow
CONTROL = "configs/mnist5k.py:control"
TWELVE_STEPS = (
    "--config.train_epochs=6",
    "--config.labeled_batch_size=48",
    "--config.checkpoint_every_steps=3",
    "--stages=train",
)


def test_four_processes_and_one_agree(tmp_path):
    """Eight devices each, six steps of a teacher and of a student."""
    process = command.run(tmp_path / "one", "--config.train_epochs=3", env=command.quick_environment(8))
    assert process.returncode == 0, process.stderr
    hosts.run(tmp_path / "four", "--config.train_epochs=3", count=4, devices=2, logs=tmp_path / "logs")
    assert_same_runs(tmp_path / "one", tmp_path / "four")


def test_a_killed_host_ends_the_others_and_fewer_continue(tmp_path):
    process = command.run(tmp_path / "one", *TWELVE_STEPS, config=CONTROL, env=command.quick_environment(8))
    assert process.returncode == 0, process.stderr
    workdir, logs = tmp_path / "killed", tmp_path / "logs_4"
    with hosts.started([command.arguments(workdir, *TWELVE_STEPS, config=CONTROL)] * 4, 2, logs) as processes:
        assert wait_for(processes[0], (workdir / "checkpoints" / "3").exists, 300)
        processes[2].kill()
        codes = hosts.wait_all(processes, 120)
    assert codes[2] == -9 and 0 not in codes
    output = hosts.run(workdir, *TWELVE_STEPS, count=2, devices=4, logs=tmp_path / "logs_2", config=CONTROL)
    assert re.search(r"train: resuming at step [369]\n", output)
    assert_same_weights((tmp_path / "one", workdir))
