"""Claims of pieces of work: of processes that live, that have ended, and that stand still."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest
from etils import epath

from ns_jax.experiment import lease
from ns_jax.experiment.claims import Claims, remove_claims


@pytest.fixture
def folder(tmp_path):
    return epath.Path(tmp_path) / "claims"


def write_claim(folder, number: int, host: str = "elsewhere", process: int = 1, more: str = "") -> None:
    """The claim of a process of another machine."""
    folder.mkdir(exist_ok=True)
    (folder / f"{number:05d}.json").write_text(json.dumps({"host": host, "process": process, "written": more}))


def test_one_of_many_has_it(folder):
    got, all_at_once = [], threading.Barrier(8)

    def take() -> None:
        claims = Claims(folder)
        all_at_once.wait()
        got.append(claims.try_take(3))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [False] * 7 + [True]


def test_it_is_given_back_at_the_end(folder):
    with Claims(folder) as claims:
        assert claims.try_take(0) and claims.try_take(1) and claims.held == {0, 1}
        claims.release(0)
        assert claims.held == {1} and [path.name for path in folder.iterdir()] == ["00001.json"]
    assert not list(folder.iterdir())
    remove_claims(folder)
    remove_claims(folder)
    assert not folder.exists()


def test_the_claim_of_a_process_of_this_machine_that_has_ended(folder):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here = lease.this_process()
    for number, process in enumerate((ended.pid, os.getpid(), os.getppid())):
        write_claim(folder, number, here["host"], process)
    claims = Claims(folder)
    assert claims.look() == {2}  # the others are of nobody, or of what this process replaces
    assert claims.try_take(0) and claims.try_take(1) and not claims.try_take(2)
    owner = {"host": here["host"], "process": ended.pid, "pids": "pid:[another container's]"}
    (folder / "00004.json").write_text(json.dumps(owner))
    assert 4 in claims.look()


@pytest.mark.parametrize("content", ["", "[]", '{"host"', "\0"])
def test_a_damaged_claim_runs_out_as_any_other(folder, content, monkeypatch):
    folder.mkdir()
    (folder / "00000.json").write_text(content)
    (folder / "notes.txt").write_text("not a claim")
    claims = Claims(folder)
    assert claims.look() == {0} and not claims.try_take(0)
    monkeypatch.setattr(lease, "LEASE", 0.0)
    assert claims.look() == set() and claims.try_take(0)


def test_a_lease_is_counted_by_a_clock_that_only_goes_forward(folder, monkeypatch):
    """The calendar of this machine and the times of files say nothing."""
    moment = [100.0]
    monkeypatch.setattr(lease.time, "monotonic", lambda: moment[0])
    write_claim(folder, 0)
    write_claim(folder, 1)
    claims = Claims(folder)
    assert claims.look() == {0, 1}
    monkeypatch.setattr(lease.time, "time", lambda: -1e9)
    os.utime(folder / "00000.json", (0, 0))
    os.utime(folder / "00001.json", (4e9, 4e9))
    assert claims.look() == {0, 1}
    moment[0] += lease.LEASE - 1
    write_claim(folder, 1, more="a sign of life")
    assert claims.look() == {0, 1} and not claims.try_take(0)
    moment[0] += 2
    assert claims.look() == {1} and claims.try_take(0) and not claims.try_take(1)
    moment[0] += lease.LEASE
    assert claims.look() == set()


def test_who_stood_still_does_not_take_back(folder, monkeypatch):
    """Its heart does not beat, another takes its claim over, and it neither writes nor deletes that."""
    monkeypatch.setattr(lease, "BEAT", 0.05)
    lost = threading.Event()
    hold = lease.Hold(folder / "00000.json", lambda content: lost.set())
    assert hold.take(0)
    first = (folder / "00000.json").read_text()
    until = time.monotonic() + 10
    while (folder / "00000.json").read_text() == first:
        assert time.monotonic() < until
        time.sleep(0.01)
    write_claim(folder, 0)
    taken = (folder / "00000.json").read_text()
    assert lost.wait(10)
    hold.let_go()
    assert (folder / "00000.json").read_text() == taken
