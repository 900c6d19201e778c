"""Benchmarks made of whole runs, here of two steps an iteration."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from etils import epath

from benchmarks import demo_gain, robustness_gain, runs, small_ablations
from benchmarks.paired import Difference, verdict
from ns_jax.artifact.metadata import read_metadata
from ns_jax.run import orchestrate
from tests.benchmarks.in_process import ToyRunner, write_images

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture
def toy_runs(monkeypatch, tmp_path):
    write_images(tmp_path / "images")
    monkeypatch.setattr(runs, "run_main", ToyRunner(tmp_path / "images"))
    monkeypatch.setattr(orchestrate, "write_report", lambda workdir: None)


def cells(table: str) -> list[list[str]]:
    """The cells of a Markdown table, without the line under its header."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return [rows[0], *rows[2:]]


def test_demo_gain(toy_runs, tmp_path):
    header, seed, mean = cells(demo_gain.measure(tmp_path, ["3"], chain="smoke"))
    assert header == ["seed", "teacher", "student 1", "supervised control"]
    assert seed[0] == "3" and mean == ["mean", *seed[1:]]
    assert all(0 <= float(cell) <= 100 for cell in seed[1:])


@pytest.mark.slow  # as test_demo_gain, with other runs
def test_small_ablations(toy_runs, tmp_path):
    rows = cells(small_ablations.measure(tmp_path, "ablation_noise", ["noised", "no_aug_clean"], ["3"]))
    assert [row[0] for row in rows] == ["ablation_noise", "teacher", "noised", "no_aug_clean"]
    assert all(seed == mean for _, seed, mean in rows[1:])
    folders = [tmp_path / f"ablation_noise-{row}-3" for row in ("noised", "no_aug_clean")]
    teachers, students = (
        [read_metadata(epath.Path(folder) / name / "model")["fingerprint"] for folder in folders]
        for name in ("iteration_0", "iteration_1")
    )
    assert teachers[0] == teachers[1] and students[0] != students[1]


def test_the_command_of_a_run(monkeypatch):
    commands = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command))
    runs.run_main("configs/mnist5k.py:chain", Path("/tmp/x"), {"seed": 3}, "--stages=train")
    assert commands == [
        [sys.executable, "-m", "ns_jax.main", "--config=configs/mnist5k.py:chain", "--workdir=/tmp/x",
         "--config.seed=3", "--stages=train"]
    ]  # fmt: skip


@pytest.mark.slow  # nine processes
def test_robustness_gain(toy_runs, tmp_path, monkeypatch):
    data = {f"folder:{tmp_path / 'images' / 'test'}": robustness_gain.CHEAP + robustness_gain.MANY_COPIES}
    study = robustness_gain.Study("configs/mnist5k.py:smoke", "configs/mnist5k.py:control", "iteration_1", data)
    monkeypatch.setitem(robustness_gain.STUDIES, "toy", study)
    evaluate = robustness_gain.evaluate
    more = ("--batch_size=8", "--variant=tests.extending.own_model:TinyConvNetArchitecture")
    monkeypatch.setattr(robustness_gain, "evaluate", lambda *arguments: evaluate(*arguments, *more))
    header, *rows = cells(robustness_gain.measure(tmp_path, "toy", ["3"]))
    assert header[1:4] == ["teacher", "student", "control"]
    assert [row[0] for row in rows] == list(robustness_gain.MEASURES)
    for _, *errors, to_teacher, to_control, decided in rows:
        teacher, student, control = map(float, errors)
        assert (
            min(teacher, student, control) >= 0 and max(teacher, student, control) <= 100 and decided == "not decided"
        )
        assert float(to_teacher) == pytest.approx(student - teacher, abs=0.11)
        assert float(to_control) == pytest.approx(student - control, abs=0.11)


def test_robustness_is_compared_seed_by_seed():
    """Differences of -3, -1 and -2: mean -2, standard error 0.577, times 4.303."""
    differences = np.array([-3.0, -1.0, -2.0])
    assert robustness_gain.described(Difference((*differences,))) == "-2.0 (-4.5 to +0.5)"
    assert robustness_gain.described(Difference((-3.0,))) == "-3.0"
    for values, decided in ((differences, "not decided"), (differences - 1, "agrees"), (5 - differences, "disagrees")):
        assert verdict(Difference((*values,)), wants_more=False) == decided
