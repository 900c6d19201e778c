"""Several processes label the shards of one set: every image once, whoever is killed, and the files of a single one."""

import contextlib
import random
import subprocess
import sys
import time

import numpy as np
import pytest
from etils import epath

from ns_jax.errors import Stopped
from ns_jax.pseudo_labels.store import LabelStore
from ns_jax.run import orchestrate, shard_work
from tests import command
from tests.experiment.test_lock import HOLD
from tests.stages import workers

RINGS = "tests/stages/rings.py"


@pytest.fixture(scope="module")
def context():
    return workers.forks()


def kill_and_replace(context, folder, kills: int, num_shards: int, late: int, seconds: float, lease_seconds=None):
    """Four workers; a random one is killed again and again while they work, and each but the first replaced.

    `late` more begin in the middle. With `lease_seconds` each is as on a machine of its own.
    """
    store, chance, alive, begun = LabelStore(epath.Path(folder)), random.Random(0), [], 0

    def begin() -> None:
        nonlocal begun
        begun += 1
        host = f"machine-{begun}" if lease_seconds else ""
        alive.append(workers.start(context, folder, num_shards, seconds, host, lease_seconds or 60.0))

    for _ in range(4):
        begin()
    deadline = time.monotonic() + 250
    for killed in range(kills):
        while len(store.written(range(num_shards))) < num_shards * 0.8 * killed / kills:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(chance.uniform(0, seconds))
        victim = alive.pop(chance.randrange(len(alive)))
        victim.kill()
        victim.join()
        assert victim.exitcode == -9
        if killed:
            begin()
        if late and killed == kills // 2:
            for _ in range(late):
                begin()
    for process in alive:
        process.join(120)
    assert [process.exitcode for process in alive] == [0] * (3 + late)


def assert_as_one(folder, alone, num_shards: int) -> None:
    """The same files as one worker's, with every image once."""
    assert workers.written(folder) == workers.written(alone)
    store = LabelStore(epath.Path(folder))
    ids = np.concatenate([store.read_shard(shard).ids for shard in range(num_shards)])
    readable = [index for index in range(num_shards * workers.SIZE) if index % 7]
    assert ids.tolist() == workers.ids(np.array(readable)).tolist()


def test_workers_that_are_killed(context, tmp_path):
    assert workers.label(tmp_path / "alone", 12) == 12
    kill_and_replace(context, tmp_path / "shared", kills=4, num_shards=12, late=1, seconds=0.1)
    assert_as_one(tmp_path / "shared", tmp_path / "alone", 12)


@pytest.mark.slow
def test_forty_kills_on_machines_that_do_not_know_each_other(context, tmp_path):
    """A claim of a dead worker is free when its lease has run out, and not because its process is seen to be gone."""
    assert workers.label(tmp_path / "alone", 40) == 40
    kill_and_replace(context, tmp_path / "shared", kills=40, num_shards=40, late=2, seconds=0.5, lease_seconds=3.0)
    assert_as_one(tmp_path / "shared", tmp_path / "alone", 40)


def test_a_sigterm_gives_claims_back(tmp_path, monkeypatch):
    asked = iter([False] * 6 + [True] * 100)
    monkeypatch.setattr(shard_work, "must_stop", lambda together: next(asked))
    with pytest.raises(Stopped, match="label: stopped by SIGTERM; start again"):
        workers.label(tmp_path / "w", 12)
    done = len(LabelStore(epath.Path(tmp_path / "w")).written(range(12)))
    assert 0 < done < 12 and not list((tmp_path / "w" / "claims").iterdir())
    monkeypatch.undo()
    assert workers.label(tmp_path / "w", 12) == 12 - done


@contextlib.contextmanager
def held(workdir):
    """Another run works in a workdir."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(workdir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=command.REPO
    ) as run:
        assert run.stdout.readline() == b"locked\n"
        yield
        run.kill()


def test_a_second_command_helps_a_run_that_labels(tmp_path, capsys, quick_compilation, monkeypatch):
    monkeypatch.setattr(orchestrate, "write_report", lambda workdir: None)
    workdir, more = tmp_path / "w", {"train_epochs": 1.0, "stages": ("label", "select", "train")}
    command.run_here(workdir, RINGS, **more)
    labels = workdir / "iteration_1" / "labels"
    before = {path.name: path.read_bytes() for path in labels.iterdir()}
    store = LabelStore(epath.Path(labels))
    for path in (labels / "manifest.json", store.shard_path(1), store.shard_path(4)):
        path.unlink()
    help_it = {"only_stages": ("label",), "timeouts__join_seconds": 1} | more
    with held(workdir):
        command.run_here(workdir, RINGS, **help_it)
        assert "all 6 files are written, 2 of them by this worker" in capsys.readouterr().out
        assert workers.written(labels) | {"manifest.json": before["manifest.json"]} == before
        assert not (labels / "manifest.json").exists()
        command.assert_refused(workdir, "another run works in", **more, config=RINGS)
        command.assert_refused(workdir, "belongs to another config (seed", config=RINGS, **help_it, seed=7)
        (labels / "claim.json").unlink()
        command.run_here(workdir, RINGS, **help_it)
        assert "nothing to help with" in capsys.readouterr().out
    command.run_here(workdir, RINGS, **help_it)  # the other one is gone: it completes the labels
    assert {path.name: path.read_bytes() for path in labels.iterdir()} == before
