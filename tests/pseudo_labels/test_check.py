"""Records and manifests that cannot be are refused."""

import numpy as np
import pytest
from etils import epath

from ns_jax.errors import UserError
from ns_jax.pseudo_labels.check import answers_problem, manifest_problem, values_problem
from ns_jax.pseudo_labels.columns import Columns, pack
from ns_jax.pseudo_labels.store import LabelStore, Selection
from ns_jax.pseudo_labels.table import TrainingTable
from tests.pseudo_labels.version_0_1 import make_records

IDS = np.array([f"image-{i}".encode() for i in range(6)])


@pytest.fixture
def probs():
    return np.random.default_rng(0).dirichlet(np.ones(3), 6).astype(np.float32)


def test_what_a_teacher_gives_is_right(probs):
    assert answers_problem(IDS, probs.astype(np.float16)) == ""
    assert values_problem(Columns(make_records(IDS, probs)), 3, 6) == ""
    many = np.random.default_rng(0).dirichlet(np.full(21_841, 0.01), 3).astype(np.float16)
    assert answers_problem(IDS[:3], many) == ""
    assert answers_problem(IDS[:2], np.full((2, 21_841), 1 / 21_841, np.float16)) == ""


@pytest.mark.parametrize(
    "value, words",
    [(np.nan, "not in 0 .. 1"), (-0.1, "not in 0 .. 1"), (np.inf, "not in 0 .. 1"), (0.1, "do not sum to 1")],
)
def test_impossible_answers_are_named_with_their_image(probs, value, words):
    probs[4] = value
    problem = answers_problem(IDS, probs.astype(np.float16))
    assert problem.startswith("'image-4' has ") and words in problem
    assert values_problem(Columns(make_records(IDS, probs)), 3, 6) == problem
    assert answers_problem(IDS[[0, 1, 0]], probs[:3].astype(np.float16)) == "it names an image twice"


@pytest.mark.parametrize(
    "field, value, words",
    [
        ("label", 3, "a label that is not in 0 .. 2"),
        ("label", -1, "a label that is not in 0 .. 2"),
        ("label", 2**31 - 1, "a label that is not in 0 .. 2"),
        ("confidence", np.nan, "not its largest probability"),
        ("confidence", 0.1, "not its largest probability"),
    ],
)
def test_impossible_records_of_version_0_1(probs, field, value, words):
    records = make_records(IDS, probs)
    records[field][4] = value
    problem = values_problem(Columns(records), 3, 6)
    assert problem.startswith("'image-4' has ") and words in problem
    records = make_records(IDS, probs)
    records["label"][1] = records["probs"][1].argmin()
    assert values_problem(Columns(records), 3, 6) == "'image-1' has a label that is not its most probable class"
    assert "probabilities for 4 classes" in values_problem(Columns(records), 4, 6)


@pytest.mark.parametrize(
    "field, value, words",
    [
        ("label", 3, "image 4 of it has a label that is not in 0 .. 2"),
        ("confidence", np.nan, "image 4 of it has a confidence that is not in 0 .. 1"),
        ("confidence", 1.1, "image 4 of it has a confidence that is not in 0 .. 1"),
        ("row", 9, "its rows are not those of 6 images in order"),
        ("row", 2, "its rows are not those of 6 images in order"),
    ],
)
def test_impossible_columns(field, value, words):
    columns = {
        "label": np.array([0, 1, 2, 0, 1], np.uint16),
        "confidence": np.array([0.4, 1.0, 1.0000001, 0.9, 0.5], np.float32),
        "row": np.arange(5, dtype=np.uint32),
    }
    assert values_problem(Columns(pack(columns)), 3, 6) == ""
    columns[field][4] = value
    assert values_problem(Columns(pack(columns)), 3, 6) == words


def test_other_files_are_refused(tmp_path, probs):
    store, selection = LabelStore(epath.Path(tmp_path) / "labels"), Selection(epath.Path(tmp_path) / "selection")
    short = pack({"label": np.zeros(3, np.uint16), "confidence": np.zeros(2, np.float32)})
    text = pack({"label": np.zeros(3, "S1"), "confidence": np.zeros(3, np.float32)})
    for other in (np.zeros(3), np.ones(6, np.uint8), np.array(5), short, text):
        store.write_shard(0, other)
        with pytest.raises(UserError, match="shard-00000.npy is damaged .*: delete it and run again"):
            store.read_shard(0)
    for other in (np.zeros(3), np.array(5), np.ones((2, 2), np.uint8), make_records(IDS, probs)):
        selection.write_shard(0, other)
        with pytest.raises(UserError, match="shard-00000.npy is damaged .it holds .* delete it and run again"):
            selection.read_copies(0)
    store.write_labels(0, IDS, probs)
    for other in (np.zeros(3), np.ones((3, 2), np.uint8), pack({"probs": np.zeros(3), "row": np.zeros(2)})):
        np.save(store.probabilities_path(0), other)
        with pytest.raises(UserError, match="shard-00000.probs.npy is damaged .* delete it and run again"):
            store.read_probabilities(0)


@pytest.mark.parametrize("header", [b"{'descr': (", b"{'descr': '<f4', 'shape': (1" * 50, b"\0" * 60, b"[" * 100])
def test_damaged_headers(tmp_path, header):
    store = LabelStore(epath.Path(tmp_path))
    store.write_shard(0, np.zeros(4))
    content = store.shard_path(0).read_bytes()
    store.shard_path(0).write_bytes(content[:10] + header.ljust(118)[:118] + content[128:])
    with pytest.raises(UserError, match="is damaged"):
        store.read_shard(0)


def test_too_many_copies_fill_no_memory(tmp_path, probs):
    store, selection = LabelStore(epath.Path(tmp_path) / "l"), Selection(epath.Path(tmp_path) / "s")
    copies = np.ones(6, np.uint32)
    store.write_labels(0, IDS, probs)
    store.write_manifest({"ranges": [[0, 6]], "class_names": ["a", "b", "c"]})
    selection.write_manifest({"copies": 6})
    selection.write_copies(0, copies)
    assert len(TrainingTable(store, selection, lambda indices: IDS[indices]).copies) == 6
    copies[2] = 2**31 + 1
    selection.write_copies(0, copies)
    with pytest.raises(UserError, match="more copies than its manifest says"):
        TrainingTable(store, selection, lambda indices: IDS[indices])


def test_manifests():
    assert manifest_problem({}) == ""
    assert manifest_problem({"ranges": [[0, 4], [4, 6]], "counts": [4, 1], "sha256": ["a", "b"]}) == ""
    for ranges in ([], [[0]], [[0, 4], [5, 6]], [[4, 4]], "01", [[0, True]]):
        assert "ranges" in manifest_problem({"ranges": ranges})
    assert "counts" in manifest_problem({"ranges": [[0, 4]], "counts": [4, 1]})
