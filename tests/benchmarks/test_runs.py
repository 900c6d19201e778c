"""Benchmarks made of whole runs, here of two steps an iteration."""

import subprocess
import sys
from pathlib import Path

import pytest
from etils import epath

from benchmarks import demo_gain, runs, small_ablations
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
