"""The whole loop through the command line, in processes of its own."""

import hashlib
import json
import random
import re
import shutil
import subprocess
import time

import numpy as np
import pytest

import ns_jax
from tests import command
from tests.stages.alike import assert_same_runs
from tests.tiny_model import TINY

VARIANT = f"--config.variant={TINY}"  # .ci/run trains the demo's own model


def results(workdir) -> dict:
    """What must be the same bits, file by file."""
    patterns = (
        "iteration_*/model/*",
        "iteration_*/labels/*",
        "iteration_*/selection/*",
        "iteration_*/evaluations/test.*",
    )
    files = sorted(path for pattern in patterns for path in workdir.glob(pattern))
    return {str(path.relative_to(workdir)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")
    process = command.run(workdir, VARIANT, env=command.quick_environment())
    assert process.returncode == 0, process.stderr
    return workdir, process


def test_it_ends_with_a_table_and_pictures(undisturbed):
    workdir, process = undisturbed
    rows = [line.split("|") for line in process.stdout.splitlines() if line.startswith("| iteration")]
    assert [row[1].strip() for row in rows] == ["iteration", "iteration_0", "iteration_1"]
    assert re.search(r"\d+ of 3900", rows[2][4]) and "4:1" in rows[2][3]
    names = {path.name for path in (workdir / "report").iterdir()}
    pictures = {"accuracy.png", "confidence.png", "balance.png", "samples.png"}
    assert names == {"results.md", "index.html", "labels.csv", "labels.parquet"} | pictures
    page = (workdir / "report" / "index.html").read_text()
    assert "could not be made" not in page and page.count("<img ") > 48 and "Agreement of student" in page
    took = json.loads((workdir / "iteration_1" / "took.json").read_text())
    assert list(took) == ["evaluate", "label", "select", "train"] and all(stage["finished"] for stage in took.values())
    assert all((workdir / "report" / name).stat().st_size > 100 for name in names)
    assert list(workdir.glob("iteration_1/logs/events.out.tfevents.*"))
    evaluation = json.loads((workdir / "iteration_1" / "evaluations/test.json").read_text())
    assert evaluation["count"] == 1000 and evaluation["top1"] == evaluation["correct"] / 1000


def test_its_models_can_be_loaded(undisturbed):
    workdir, _ = undisturbed
    last = ns_jax.load(workdir, TINY)
    assert last.metadata["teacher"] == ns_jax.load(workdir / "iteration_0", TINY).metadata["fingerprint"]
    assert last.class_names == [str(digit) for digit in range(10)]
    before_the_end = ns_jax.load(workdir / "iteration_1" / "checkpoints", TINY)
    assert before_the_end.metadata == {key: value for key, value in last.metadata.items() if key != "fingerprint"} | {
        "steps": 9
    }
    assert ns_jax.load(workdir / "iteration_1" / "checkpoints" / "6", TINY).metadata["steps"] == 6
    images = np.zeros((2, 28, 28, 3), np.uint8)
    assert not np.array_equal(before_the_end.logits(images), last.logits(images))


def test_plain_lines_without_a_terminal(undisturbed):
    _, process = undisturbed
    text = process.stdout + process.stderr
    assert not set(text) & {chr(i) for i in range(32) if i not in (9, 10)}
    assert re.search(r"iteration_1 train: 12/12, [\d.]+ steps/s, loss [\d.]+, accuracy [\d.]+ %, 0 s left", text)


def test_a_second_start_does_nothing_anew(undisturbed, capsys):
    workdir, _ = undisturbed
    before = {
        path: path.stat().st_mtime_ns
        for path in workdir.rglob("*")
        if path.is_file() and "report" not in str(path) and path.name not in ("run.lock", "progress.json")
    }
    command.run_here(workdir, variant=TINY)
    output = capsys.readouterr().out
    assert "train: done before" in output and "label: done before (3900 images)" in output
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())


@pytest.mark.slow  # a step on eight devices is compared with one on one in tests/training
def test_eight_devices_give_what_one_gives(undisturbed, tmp_path):
    process = command.run(tmp_path / "eight", VARIANT, env=command.quick_environment(devices=8))
    assert process.returncode == 0, process.stderr
    assert_same_runs(undisturbed[0], tmp_path / "eight")


def wait_for(process, happened, seconds: float = 120) -> bool:
    """Waits until `happened`, or the process ends, which gives False."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if happened():
            return True
        if process.poll() is not None:
            return False
        time.sleep(0.005)
    raise AssertionError("it neither happened nor ended")


# What has just been written when the process dies, a random moment later (seconds at most).
MOMENTS = [
    ("iteration_0/checkpoints", 1.0),
    ("iteration_0/checkpoints/9", 0.3),
    ("iteration_0/model/model.json", 0.5),
    ("iteration_0/evaluations/test.json", 0.5),
    ("iteration_1/labels/claim.json", 0.5),
    ("iteration_1/labels/shard-00001.npy", 0.2),
    ("iteration_1/labels/manifest.json", 0.02),
    ("iteration_1/selection/shard-00000.npy", 0.005),
    ("iteration_1/checkpoints", 1.0),
    ("iteration_1/checkpoints/6", 0.2),
    ("iteration_1/model/weights.safetensors", 0.01),
]


@pytest.mark.parametrize("moments", [MOMENTS[1::5], pytest.param(MOMENTS, marks=pytest.mark.slow)])
def test_killed_runs_end_with_the_same_bits(undisturbed, tmp_path, moments):
    workdir = tmp_path / "killed"
    chance = random.Random(0)
    kills = 0
    for marker, seconds in moments:
        with subprocess.Popen(
            command.arguments(workdir, VARIANT),
            cwd=command.REPO,
            env=command.quick_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            path = workdir / marker
            if wait_for(process, path.exists):
                time.sleep(chance.uniform(0, seconds))
                process.kill()
                kills += process.wait() == -9
    assert kills >= len(moments) - 1
    process = command.run(workdir, VARIANT, env=command.quick_environment())
    assert process.returncode == 0, process.stderr
    assert results(workdir) == results(undisturbed[0])


@pytest.mark.slow  # tests/test_checkpoint.py damages them without a run
def test_a_damaged_checkpoint_falls_back_to_the_one_before(undisturbed, tmp_path):
    """In a run that ended while its last student trained."""
    workdir = tmp_path / "damaged"
    shutil.copytree(undisturbed[0], workdir)
    shutil.rmtree(workdir / "iteration_1" / "model")
    (workdir / "iteration_1" / "evaluations/test.json").unlink()
    checkpoints = workdir / "iteration_1" / "checkpoints"
    before, newest = sorted(int(path.name) for path in checkpoints.iterdir() if path.name.isdigit())
    largest = max((checkpoints / str(newest)).rglob("*"), key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 0x10
    largest.write_bytes(data)
    process = command.run(workdir, VARIANT, env=command.quick_environment())
    assert process.returncode == 0, process.stderr
    assert f"checkpoints/{newest} is damaged" in process.stderr and "trying the one before it" in process.stderr
    assert f"resuming at step {before}" in process.stdout
    assert results(workdir) == results(undisturbed[0])
