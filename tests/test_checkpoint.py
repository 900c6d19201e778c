"""Reading a checkpoint: what is retried, what counts as damage, and what ends a run without touching it."""

import errno
import os

import jax
import numpy as np
import pytest
from etils import epath
from hypothesis import given, settings
from hypothesis import strategies as st

from ns_jax import checkpoint
from ns_jax.checkpoint import Checkpoints, Reading, agreed_problem
from ns_jax.errors import UserError
from ns_jax.parallel.mesh import make_mesh, place_whole, replicated
from ns_jax.training.state import TrainState


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """(checkpoints with steps 1 and 2, like)."""
    monkeypatch.setattr(checkpoint, "RETRY_SECONDS", (0.01, 0.01))
    mesh = make_mesh()
    arrays = {"kernel": np.arange(1000, dtype=np.float32), "bias": np.ones(3, np.float32)}
    state = TrainState(*place_whole(mesh, (np.int32(0), arrays, {"mean": np.zeros(3, np.float32)}, [], arrays, {})))
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=replicated(mesh)), state)
    checkpoints = Checkpoints(epath.Path(tmp_path) / "checkpoints", 2)
    for step in (1, 2):
        checkpoints.save(state.replace(step=state.step + step), step)
    checkpoints.wait()
    yield checkpoints, like
    checkpoints.close()


def fails(times: int, real, error: Exception):
    """`real`, of which the first calls raise `error`."""
    left = [times]

    def call(*arguments):
        left[0] -= 1
        if left[0] >= 0:
            raise error
        return real(*arguments)

    return call


EIO = OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("part", ["_read_metadata", "_read_state"])
def test_a_read_that_fails_is_tried_again(saved, monkeypatch, part):
    checkpoints, like = saved
    monkeypatch.setattr(checkpoint, part, fails(2, getattr(checkpoint, part), EIO))
    restored = checkpoints.restore_newest(like)
    assert int(restored.step) == 2
    np.testing.assert_array_equal(restored.params["kernel"], np.arange(1000))
    assert restored.params["kernel"].sharding == like.params["kernel"].sharding


@pytest.mark.parametrize("error", [EIO, ValueError("UNAVAILABLE: Connection reset [source locations=..]")])
def test_what_cannot_be_read_is_not_called_damaged(saved, monkeypatch, error):
    checkpoints, like = saved
    monkeypatch.setattr(checkpoint, "_read_state", fails(99, checkpoint._read_state, error))
    with pytest.raises(UserError, match=r"\(process 0\) cannot read the arrays of .*/2 \(.*look at its disk"):
        checkpoints.restore_newest(like)
    assert (checkpoints.folder / "2").exists() and not list(checkpoints.folder.parent.glob("damaged-*"))


def test_what_is_damaged_is_moved_aside(saved, monkeypatch):
    checkpoints, like = saved
    monkeypatch.setattr(checkpoint, "_read_state", fails(1, checkpoint._read_state, ValueError("DATA_LOSS: crc32c")))
    assert int(checkpoints.restore_newest(like).step) == 1
    assert (checkpoints.folder.parent / "damaged-2").exists() and not (checkpoints.folder / "2").exists()


def test_a_missing_file_is_damage(saved):
    checkpoints, like = saved
    (checkpoints.folder / "2" / checkpoint.METADATA_ITEM).rmtree()
    assert int(checkpoints.restore_newest(like).step) == 1


READING = st.builds(Reading, st.sampled_from(["", "DATA_LOSS", "EIO"]), st.just(False), st.text(max_size=3)).map(
    lambda reading: reading._replace(unreadable=reading.problem == "EIO")
)


@settings(max_examples=30, deadline=None)
@given(st.lists(READING, min_size=1, max_size=40))
def test_one_verdict_for_all_hosts(readings):
    problems = {reading.problem for reading in readings}
    if "EIO" in problems:
        with pytest.raises(UserError, match="cannot read it"):
            agreed_problem(readings, "it")
    elif problems == {""}:
        assert agreed_problem(readings, "it") is None
    else:
        assert agreed_problem(readings, "it").startswith("DATA_LOSS")
