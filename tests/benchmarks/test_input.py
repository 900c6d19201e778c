"""The contestants of benchmarks.input_speed on a few images, and input_wait on a tiny run."""

import pytest

from benchmarks import input_speed, input_wait, runs
from benchmarks.contestants import ns_jax_input
from ns_jax.run import orchestrate
from tests.benchmarks.in_process import ToyRunner

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def jpegs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jpegs")
    input_speed.write_jpegs(folder, 4)
    return folder


def test_our_own_input(jpegs):
    read = ns_jax_input.make_work(str(jpegs), batch_size=2, counted=2)
    assert 0 < read() < 60


@pytest.mark.parametrize("name", ["torchvision", "timm"])
def test_peers(name, jpegs):
    pytest.importorskip("torch")
    pytest.importorskip(name)
    from benchmarks.contestants import torch_input

    batch = torch_input.make_work(str(jpegs), name, threads=1, batch_size=2)()
    assert tuple(batch.shape) == (2, 3, 224, 224)


def test_input_speed(monkeypatch):
    asked = {}

    def contest(commands, rounds, threads, turn_seconds):
        asked.update(commands)
        return {name: [0.5, 0.5] for name in commands}

    monkeypatch.setattr(input_speed, "contest", contest)
    table = input_speed.measure(["ns_jax", "torchvision", "timm"], 2, 1, "/other/python", images=2)
    assert table.count("4.0 to 4.0") == 3
    assert asked["ns_jax"][2] == "benchmarks.contestants.ns_jax_input"
    assert asked["timm"][0] == "/other/python" and asked["timm"][4:] == ["timm", "1"]


def test_input_wait(monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "run_main", ToyRunner(tmp_path))
    monkeypatch.setattr(orchestrate, "write_report", lambda workdir: None)
    fields = {"augment": "('random_area', 'flip')"}
    table = input_wait.measure(4, batch_size=8, images_per_class=4, log_every_steps=2, fields=fields)
    header, _, *windows = table.splitlines()
    assert [line.split("|")[1].strip() for line in windows] == ["2", "4"] and "waits for input" in header
