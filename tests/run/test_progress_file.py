"""WORKDIR/progress.json."""

import json

import pytest
from etils import epath

from ns_jax import progress_file as module
from ns_jax.errors import Stopped, UserError
from ns_jax.progress_file import begin_stage, progress_file, report_batch, report_steps
from ns_jax.report.progress import StageProgress
from ns_jax.run.took import recorded


@pytest.fixture
def clock(monkeypatch):
    """Seconds of the module's clock, in a list that a test may change."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_stages_and_steps(tmp_path, clock):
    path = epath.Path(tmp_path / "progress.json")
    read = lambda: json.loads(path.read_text())
    with progress_file(path):
        assert not path.exists()
        with recorded(epath.Path(tmp_path / "iteration_1"), "train"):
            assert (read()["stage"], read()["stages_begun"]) == ("iteration_1 train", 1)
            assert read()["state"] == "running"
            with StageProgress("", 90, 30, shown=False) as progress:
                progress.update(31)
                assert read()["done"] == 0  # too soon for another write
                clock[0] = 36
                progress.update(40)
            assert (read()["done"], read()["total"], read()["unit"]) == (40, 90, "steps")
        clock[0] = 40
        begin_stage("iteration_1 evaluate")
        clock[0] = 100
        report_batch()
        assert (read()["stages_begun"], read()["done"], read()["batches"]) == (2, 0, 1)
    assert read()["state"] == "done" and read()["error"] == ""
    written = path.read_bytes()
    begin_stage("of no run")  # where no file is open, nothing is written
    report_steps(1, 2, "steps")
    assert path.read_bytes() == written


@pytest.mark.parametrize(("error", "state"), [(Stopped("at step 3"), "stopped"), (UserError("no images"), "failed")])
def test_how_it_ended(tmp_path, error, state):
    with pytest.raises(type(error)), progress_file(epath.Path(tmp_path / "progress.json")):
        begin_stage("train")
        raise error
    said = json.loads((tmp_path / "progress.json").read_text())
    assert said["state"] == state and said["error"] == ("no images" if state == "failed" else "")


def test_a_run_that_never_began_leaves_nothing(tmp_path):
    with pytest.raises(UserError), progress_file(epath.Path(tmp_path / "progress.json")):
        raise UserError("no images")
    assert not list(tmp_path.iterdir())


def test_a_run_goes_on_where_it_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with progress_file(epath.Path(tmp_path / "file" / "progress.json")):
        begin_stage("train")
    assert (tmp_path / "file").read_bytes() == b""
