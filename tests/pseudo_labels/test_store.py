import errno
import gc
import os
import resource
from pathlib import Path

import numpy as np
import pytest
from etils import epath

from ns_jax.errors import UserError
from ns_jax.pseudo_labels.draws import draw_by_id
from ns_jax.pseudo_labels.mapping import map_npy
from ns_jax.pseudo_labels.read import read_pseudo_labels
from ns_jax.pseudo_labels.store import LabelStore, Selection, make_copies, make_records, shard_ranges
from ns_jax.pseudo_labels.table import TrainingTable

IDS = np.array([f"image-{i:02d}".encode() for i in range(10)])


@pytest.fixture
def stored(tmp_path):
    """Ten images in shards of four; image i has copies i % 3; image 5 could not be read."""
    store, selection = LabelStore(epath.Path(tmp_path) / "labels"), Selection(epath.Path(tmp_path) / "selection")
    ranges = shard_ranges(10, 4)
    probs = np.random.default_rng(0).dirichlet(np.ones(3), 10).astype(np.float32)
    for shard, (start, stop) in enumerate(ranges):
        rows = np.array([i for i in range(start, stop) if i != 5])
        store.write_shard(shard, make_records(IDS[rows], probs[rows]))
        # Written in another order: the join goes by id.
        selection.write_shard(shard, make_copies(IDS[rows][::-1], (rows % 3)[::-1]))
    store.write_manifest({"ranges": [list(bounds) for bounds in ranges], "class_names": ["a", "b", "c"]})
    selection.write_manifest({})
    return store, selection, probs


def test_shards_cover_everything():
    assert shard_ranges(10, 4) == [(0, 4), (4, 8), (8, 10)]


def test_records_round_trip(stored):
    store, _, probs = stored
    records = store.read_shard(0)
    np.testing.assert_array_equal(records["id"], IDS[:4])
    np.testing.assert_array_equal(records["label"], probs[:4].argmax(1))
    np.testing.assert_array_equal(records["confidence"], probs[:4].max(1))
    np.testing.assert_allclose(records["probs"], probs[:4], rtol=1e-3)


def test_join_is_by_id(stored):
    store, selection, probs = stored
    table = TrainingTable(store, selection, lambda indices: IDS[indices])
    images = table.copies[np.arange(len(table.copies))]
    assert images.tolist() == [i for i in range(10) if i != 5 for _ in range(i % 3)]
    images = images[::-1]
    np.testing.assert_allclose(table.probabilities(images), probs[images], rtol=1e-3)


def test_join_names_the_shard_and_the_first_stranger(stored):
    store, selection, _ = stored
    renamed = IDS.copy()
    renamed[6] = b"image-xx"
    with pytest.raises(UserError, match=r"shard 1: .*image-06"):
        TrainingTable(store, selection, lambda indices: renamed[indices])


def test_join_refuses_a_selection_of_other_labels(stored):
    store, selection, _ = stored
    selection.write_shard(2, make_copies(IDS[:2], np.ones(2)))
    with pytest.raises(UserError, match=r"shard 2: .*image-00"):
        TrainingTable(store, selection, lambda indices: IDS[indices])


def test_rules_see_all_shards_in_order(stored):
    store, _, probs = stored
    labels, readable = read_pseudo_labels(store, seed=3), np.delete(np.arange(10), 5)
    np.testing.assert_array_equal(labels.ids, IDS[readable])
    np.testing.assert_array_equal(labels.label, probs[readable].argmax(1))
    np.testing.assert_array_equal(labels.random, draw_by_id(IDS[readable], 3))
    assert labels.num_classes == 3
    for _ in range(2):  # every call begins a pass of its own
        parts = list(labels.probabilities())
        assert [len(part) for part in parts] == [4, 3, 2] and parts[0].dtype == np.float32
        np.testing.assert_allclose(np.concatenate(parts), probs[readable], rtol=1e-3)


def test_a_damaged_or_missing_shard_is_reported_with_what_helps(stored):
    store, selection, _ = stored
    path = store.shard_path(1)
    whole = path.read_bytes()
    for length in (len(whole) - 7, 40, 0):  # records, header, nothing
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match="shard-00001.npy is damaged .*: delete it and run again"):
            TrainingTable(store, selection, lambda indices: IDS[indices])
    path.unlink()
    with pytest.raises(UserError, match="shard-00001.npy is missing: run again, with all stages"):
        TrainingTable(store, selection, lambda indices: IDS[indices])


def test_a_write_that_fails_leaves_the_old_shard_and_nothing_else(stored, monkeypatch):
    store, _, _ = stored
    before = store.read_shard(0).copy()
    files = sorted(store.folder.iterdir())

    def disk_is_full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", disk_is_full)
    with pytest.raises(OSError, match="No space left"):
        store.write_shard(0, before[:2])
    monkeypatch.undo()
    np.testing.assert_array_equal(store.read_shard(0), before)
    assert sorted(store.folder.iterdir()) == files


def test_shards_that_are_read_hold_no_file_descriptors(tmp_path):
    store = LabelStore(epath.Path(tmp_path))
    for shard in range(1100):
        store.shard_path(shard).write_bytes(b"")
        with store.shard_path(shard).open("wb") as file:
            np.save(file, make_records(np.array([b"id-%04d" % shard]), np.array([[0.25, 0.75]], np.float32)))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        shards = [store.read_shard(shard) for shard in range(1100)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [shard["id"][0] for shard in shards[::1099]] == [b"id-0000", b"id-1099"]
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) <= before + 1  # that of the listing itself


def test_a_mapped_file_is_read_only_and_unmapped_with_its_last_array(tmp_path):
    array = np.arange(600, dtype=np.float32).reshape(20, 30)
    for order in ("C", "F"):
        np.save(tmp_path / "array.npy", np.asarray(array, order=order))
        mapped = map_npy(str(tmp_path / "array.npy"))
        np.testing.assert_array_equal(mapped, array)
        assert not mapped.flags.writeable
    part = mapped[3:5]
    del mapped
    gc.collect()
    np.testing.assert_array_equal(part, array[3:5])  # still there
    if os.path.exists("/proc/self/maps"):
        is_mapped = lambda: "array.npy" in Path("/proc/self/maps").read_text()
        assert is_mapped()
        del part
        gc.collect()
        assert not is_mapped()


def test_an_empty_shard(tmp_path):
    np.save(tmp_path / "empty.npy", make_copies(np.empty(0, "S3"), np.empty(0)))
    assert map_npy(str(tmp_path / "empty.npy")).shape == (0,)
