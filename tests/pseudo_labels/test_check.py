"""Records and manifests that cannot be are refused."""

import numpy as np
import pytest
from etils import epath

from ns_jax.errors import UserError
from ns_jax.pseudo_labels.check import labels_problem, manifest_problem
from ns_jax.pseudo_labels.store import LabelStore, Selection, make_copies, make_records
from ns_jax.pseudo_labels.table import TrainingTable

IDS = np.array([f"image-{i}".encode() for i in range(6)])


@pytest.fixture
def records():
    return make_records(IDS, np.random.default_rng(0).dirichlet(np.ones(3), 6).astype(np.float32))


def test_what_a_teacher_gives_is_right(records):
    assert labels_problem(records, 3) == ""
    many = np.random.default_rng(0).dirichlet(np.full(21_841, 0.01), 3).astype(np.float32)
    assert labels_problem(make_records(IDS[:3], many), 21_841) == ""
    even = np.full((2, 21_841), 1 / 21_841, np.float32)
    assert labels_problem(make_records(IDS[:2], even), 21_841) == ""


@pytest.mark.parametrize(
    "field, value, words",
    [
        ("probs", np.nan, "not in 0 .. 1"),
        ("probs", -0.1, "not in 0 .. 1"),
        ("probs", np.inf, "not in 0 .. 1"),
        ("probs", 0.3 / 3, "do not sum to 1"),
        ("label", 3, "a label that is not in 0 .. 2"),
        ("label", -1, "a label that is not in 0 .. 2"),
        ("label", 2**31 - 1, "a label that is not in 0 .. 2"),
        ("confidence", np.nan, "not its largest probability"),
        ("confidence", 0.1, "not its largest probability"),
    ],
)
def test_impossible_values_are_named_with_their_image(records, field, value, words):
    records[field][4] = value
    assert labels_problem(records, 3).startswith("'image-4' has ") and words in labels_problem(records, 3)


def test_a_label_that_is_not_the_most_probable_class(records):
    records["label"][1] = records["probs"][1].argmin()
    assert labels_problem(records, 3) == "'image-1' has a label that is not its most probable class"
    assert "probabilities for 4 classes" in labels_problem(records, 4)


def test_other_records_are_refused(tmp_path):
    store = LabelStore(epath.Path(tmp_path))
    for other in (np.zeros(3), make_copies(IDS, np.ones(6)), np.array(5)):
        store.write_shard(0, other)
        with pytest.raises(UserError, match="shard-00000.npy is damaged .it holds .* delete it and run again"):
            store.read_shard(0)


@pytest.mark.parametrize("header", [b"{'descr': (", b"{'descr': '<f4', 'shape': (1" * 50, b"\0" * 60, b"[" * 100])
def test_damaged_headers(tmp_path, header):
    store = LabelStore(epath.Path(tmp_path))
    store.write_shard(0, np.zeros(4))
    content = store.shard_path(0).read_bytes()
    store.shard_path(0).write_bytes(content[:10] + header.ljust(118)[:118] + content[128:])
    with pytest.raises(UserError, match="is damaged"):
        store.read_shard(0)


def test_too_many_copies_fill_no_memory(tmp_path, records):
    store, selection = LabelStore(epath.Path(tmp_path) / "l"), Selection(epath.Path(tmp_path) / "s")
    copies = np.ones(6, np.uint32)
    store.write_shard(0, records)
    store.write_manifest({"ranges": [[0, 6]], "class_names": ["a"]})
    selection.write_manifest({"copies": 6})
    selection.write_shard(0, make_copies(IDS, copies))
    assert len(TrainingTable(store, selection, lambda indices: IDS[indices]).copies) == 6
    copies[2] = 2**31 + 1
    selection.write_shard(0, make_copies(IDS, copies))
    with pytest.raises(UserError, match="more copies than its manifest says"):
        TrainingTable(store, selection, lambda indices: IDS[indices])


def test_manifests():
    assert manifest_problem({}) == ""
    assert manifest_problem({"ranges": [[0, 4], [4, 6]], "counts": [4, 1], "sha256": ["a", "b"]}) == ""
    for ranges in ([], [[0]], [[0, 4], [5, 6]], [[4, 4]], "01", [[0, True]]):
        assert "ranges" in manifest_problem({"ranges": ranges})
    assert "counts" in manifest_problem({"ranges": [[0, 4]], "counts": [4, 1]})
