import numpy as np
import pytest
from etils import epath

from ns_jax.errors import UserError
from ns_jax.pseudo_labels.store import LabelStore, Selection, join, make_copies, make_records, shard_ranges

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
    store.write_manifest({"ranges": [list(bounds) for bounds in ranges]})
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
    table = join(store, selection, lambda indices: IDS[indices])
    assert sorted(table.source_index.tolist()) == sorted(i for i in range(10) if i != 5 for _ in range(i % 3))
    everything = np.arange(len(table.source_index))
    np.testing.assert_allclose(table.probs(everything), probs[table.source_index], rtol=1e-3)


def test_join_names_the_shard_and_the_first_stranger(stored):
    store, selection, _ = stored
    renamed = IDS.copy()
    renamed[6] = b"image-xx"
    with pytest.raises(UserError, match=r"shard 1: .*image-06"):
        join(store, selection, lambda indices: renamed[indices])


def test_join_refuses_a_selection_of_other_labels(stored):
    store, selection, _ = stored
    selection.write_shard(2, make_copies(IDS[:2], np.ones(2)))
    with pytest.raises(UserError, match=r"shard 2: .*image-00"):
        join(store, selection, lambda indices: IDS[indices])


def test_half_a_shard_is_reported_by_name(stored):
    store, selection, _ = stored
    path = store.shard_path(1)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(UserError, match="shard-00001.npy is damaged"):
        join(store, selection, lambda indices: IDS[indices])


def test_nothing_half_written_stays(stored, tmp_path):
    assert not list(tmp_path.rglob("*.tmp"))
