"""Probabilities of some images from a label store in a bucket, against the same store on a disk."""

import numpy as np
import pytest
from etils import epath

from ns_jax.errors import UserError
from ns_jax.pseudo_labels.remote import RemoteProbabilities
from ns_jax.pseudo_labels.store import LabelStore, Selection, Writing, shard_ranges
from ns_jax.pseudo_labels.table import TrainingTable

RANGES = shard_ranges(700, 300)
IDS = np.array([b"image-%03d" % i for i in range(700)])
COPIES = np.arange(700, dtype=np.uint32) % 3


def write(folder, missing, top_k) -> TrainingTable:
    source_ids = lambda indices: IDS[indices]
    probs = np.random.default_rng(0).dirichlet(np.ones(500), 700).astype(np.float32)
    store = LabelStore(epath.Path(folder) / "labels", Writing(RANGES, source_ids, True, top_k))
    selection = Selection(epath.Path(folder) / "selection")
    for shard, bounds in enumerate(RANGES):
        rows = np.setdiff1d(np.arange(*bounds), missing)
        store.write_labels(shard, IDS[rows], probs[rows])
        copies = COPIES.copy()
        copies[missing] = 0
        selection.write_copies(shard, copies[slice(*bounds)])
    names = [f"{number}" for number in range(500)]
    store.write_manifest({"ranges": [list(bounds) for bounds in RANGES], "class_names": names})
    selection.write_manifest({})
    return TrainingTable(store, selection, source_ids)


@pytest.mark.parametrize("missing, top_k, num_columns", [([], 0, 1), ([301, 450], 0, 2), ([5], 7, 4)])
def test_rows_of_a_bucket_are_those_of_a_disk(server, tmp_path, missing, top_k, num_columns):
    here, there = write(tmp_path, missing, top_k), write("gs://pictures/run", missing, top_k)
    images = there.copies[np.random.default_rng(1).integers(0, len(there.copies), 40)]
    np.testing.assert_array_equal(there.probabilities(images), here.probabilities(images))
    server.requests.clear()
    beside_each_other = np.arange(310, 440)
    np.testing.assert_array_equal(there.probabilities(beside_each_other), here.probabilities(beside_each_other))
    assert sum(server.requests.values()) == num_columns  # one request each; the header is known


def test_a_file_that_is_cut_off(server):
    table = write("gs://pictures/run", [], 0)
    path = epath.Path("gs://pictures/run/labels/shard-00000.probs.npy")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match="shard-00000.probs.npy is damaged .it is cut off"):
        table.probabilities(np.array([3, 299]))
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="shard-00000.probs.npy is damaged"):
        RemoteProbabilities().read(path, np.array([3]))
    path.unlink()
    with pytest.raises(UserError, match="shard-00000.probs.npy is missing"):
        table.probabilities(np.array([3]))
