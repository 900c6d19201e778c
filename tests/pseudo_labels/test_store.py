import errno
import gc
import os
import resource
from pathlib import Path

import numpy as np
import pytest
from etils import epath

from ns_jax.errors import UserError
from ns_jax.pseudo_labels.joined import Joined, Places
from ns_jax.pseudo_labels.mapping import map_npy
from ns_jax.pseudo_labels.scores import entropy, margin
from ns_jax.pseudo_labels.store import LabelStore, Selection, Writing, shard_ranges
from ns_jax.pseudo_labels.table import TrainingTable
from tests.pseudo_labels import version_0_1

IDS = np.array([f"image-{i:02d}".encode() for i in range(10)])
RANGES = shard_ranges(10, 4)
LABELED = np.delete(np.arange(10), 5)  # image 5 could not be read
COPIES = np.arange(10) % 3
COPIES[5] = 0
FORMS = ("ids", "identity", "version 0.1")


def source_ids(indices):
    return IDS[indices]


def write(folder, form: str, probs: np.ndarray) -> tuple[LabelStore, Selection]:
    """Labels and selection of ten images in shards of four; image i has copies i % 3."""
    writing = Writing(RANGES, source_ids, keeps_ids=form == "ids")
    store, selection = LabelStore(epath.Path(folder) / "labels", writing), Selection(epath.Path(folder) / "selection")
    for shard, (start, stop) in enumerate(RANGES):
        rows = np.setdiff1d(np.arange(start, stop), [5])
        if form == "version 0.1":
            version_0_1.write_labels(store, shard, IDS[rows], probs[rows])
            # In another order: the join goes by id.
            selection.write_records(shard, IDS[rows][::-1], COPIES[rows][::-1])
        else:
            store.write_labels(shard, IDS[rows], probs[rows])
            selection.write_copies(shard, COPIES[start:stop].astype(np.uint32))
    manifest = {"ranges": [list(bounds) for bounds in RANGES], "class_names": ["a", "b", "c"]}
    store.write_manifest(manifest | ({} if form == "version 0.1" else {"source_identity": "these"}))
    selection.write_manifest({})
    return store, selection


@pytest.fixture
def probs():
    return np.random.default_rng(0).dirichlet(np.ones(3), 10).astype(np.float32)


@pytest.fixture
def stored(tmp_path, probs):
    return *write(tmp_path, "ids", probs), probs


def test_shards_cover_everything():
    assert shard_ranges(10, 4) == [(0, 4), (4, 8), (8, 10)]


@pytest.mark.parametrize("form", FORMS)
def test_columns_and_probabilities_of_every_form(tmp_path, probs, form):
    store, _ = write(tmp_path, form, probs)
    rounded = probs.astype(np.float16).astype(np.float32)
    for shard, rows in ((0, np.arange(4)), (1, np.array([4, 6, 7]))):
        columns = store.read_shard(shard)
        assert len(columns) == len(rows)
        np.testing.assert_array_equal(columns["label"], probs[rows].argmax(1))
        for name, expected in (
            ("confidence", probs.max(1)),
            ("margin", margin(rounded)),
            ("entropy", entropy(rounded)),
            ("runner_up", np.argsort(rounded, 1)[:, 1]),
        ):
            np.testing.assert_array_equal(columns[name], expected[rows], err_msg=name)
        np.testing.assert_array_equal(columns["sum_of_probs"], rounded[rows].sum(0, dtype=np.float64))
        assert columns["confidence"].dtype == columns["margin"].dtype == np.float32
        assert columns["entropy"].dtype == np.float64
        np.testing.assert_array_equal(store.read_probabilities(shard), rounded[rows])
        of_rows = columns.rows[[2, 0, 2]]
        np.testing.assert_array_equal(store.read_probabilities(shard, of_rows), rounded[rows][[2, 0, 2]])
        if form == "identity":
            assert columns.ids is None
        else:
            np.testing.assert_array_equal(columns.ids, IDS[rows])
        if form != "version 0.1":
            assert columns["label"].dtype == columns["runner_up"].dtype == np.uint16
            np.testing.assert_array_equal(columns.rows, rows - 4 * shard)
    if form != "version 0.1":
        with pytest.raises(KeyError, match="row 1 has no probabilities"):
            store.read_probabilities(1, np.array([0, 1]))


def test_very_many_classes():
    from ns_jax.pseudo_labels.columns import columns_of

    probs = np.zeros((1, 2**16 + 1), np.float32)
    probs[0, 2**16] = 1
    columns = columns_of(probs, probs.astype(np.float16))
    assert columns["label"].dtype == np.int32 and columns["label"].tolist() == [2**16]


@pytest.mark.parametrize("identity", ["", "these", "others"])
@pytest.mark.parametrize("form", FORMS)
def test_join(tmp_path, probs, form, identity):
    """The same copies in the same order from every form, whether or not the source says that it is the same."""
    store, selection = write(tmp_path, form, probs)
    if form == "identity" and identity != "these":
        with pytest.raises(UserError, match="is of other images than the source holds now"):
            TrainingTable(store, selection, source_ids, identity)
        return
    table = TrainingTable(store, selection, source_ids, identity)
    images = table.copies[np.arange(len(table.copies))]
    assert images.tolist() == [i for i in range(10) if i != 5 for _ in range(i % 3)]
    images = images[::-1]
    np.testing.assert_allclose(table.probabilities(images), probs[images], rtol=1e-3)


def test_a_source_that_says_it_is_the_same_is_not_asked_for_ids(tmp_path, probs):
    def no_ids(indices):
        raise AssertionError("not needed")

    for form in ("ids", "identity"):
        joined = Joined(*write(tmp_path / form, form, probs), no_ids, "these")
        for shard, (start, stop) in enumerate(RANGES):
            copies, places = joined.rows(shard)
            assert copies.tolist() == COPIES[start:stop].tolist() and places is None
            assert copies.dtype == np.uint32


@pytest.mark.parametrize("form", ["ids", "version 0.1"])
def test_join_of_a_source_that_was_re_ordered(tmp_path, probs, form):
    """Within shards, as when files are renamed: ids tell which image is which."""
    order = np.array([2, 3, 0, 1, 7, 6, 5, 4, 9, 8])
    store, selection = write(tmp_path, form, probs)
    table = TrainingTable(store, selection, lambda indices: IDS[order][indices], "others")
    images = table.copies[np.arange(len(table.copies))]
    assert order[images].tolist() == [i for i in order if i != 5 for _ in range(i % 3)]
    np.testing.assert_allclose(table.probabilities(images), probs[order[images]], rtol=1e-3)
    places = Places(store, lambda indices: IDS[order][indices])
    assert IDS[order][places.indices(1, store.read_shard(1))].tolist() == IDS[[4, 6, 7]].tolist()


@pytest.mark.parametrize("form", ["ids", "version 0.1"])
def test_join_names_the_shard_and_the_first_stranger(tmp_path, probs, form):
    renamed = IDS.copy()
    renamed[6] = b"image-xx"
    with pytest.raises(UserError, match=r"shard 1: .*image-06"):
        TrainingTable(*write(tmp_path, form, probs), lambda indices: renamed[indices], "others")


def test_join_refuses_a_selection_of_other_labels(tmp_path, probs):
    store, selection = write(tmp_path / "old", "version 0.1", probs)
    selection.write_records(2, IDS[:2], np.ones(2))
    with pytest.raises(UserError, match=r"shard 2: .*image-00"):
        TrainingTable(store, selection, source_ids)
    store, selection = write(tmp_path / "new", "ids", probs)
    selection.write_copies(1, np.ones(4, np.uint32))  # of an image without a pseudo-label
    with pytest.raises(UserError, match="shard 1: .* has selected images without a pseudo-label"):
        TrainingTable(store, selection, source_ids)
    selection.write_copies(1, np.ones(3, np.uint32))
    with pytest.raises(UserError, match="it has 3 images, and the shard has 4"):
        TrainingTable(store, selection, source_ids)


def test_a_byte_a_copy_or_more(tmp_path):
    selection = Selection(epath.Path(tmp_path))
    for most, size in ((255, 1), (256, 2), (2**20, 4)):
        copies = np.array([0, 1, most], np.uint32)
        selection.write_copies(0, copies)
        read = selection.read_copies(0)
        assert read.dtype == np.uint32 and read.tolist() == copies.tolist()
        assert selection.read_shard(0).dtype.itemsize == size


def test_probabilities_of_the_most_probable_classes(tmp_path):
    generator = np.random.default_rng(0)
    probs = generator.dirichlet(np.full(50, 0.1), 6).astype(np.float32)
    rounded = probs.astype(np.float16).astype(np.float32)
    ids = np.array([b"%d" % i for i in range(8)])
    store = LabelStore(epath.Path(tmp_path), Writing([(0, 8)], lambda indices: ids[indices], False, top_k=5))
    store.write_labels(0, ids[1:7], probs)
    read = store.read_probabilities(0)
    np.testing.assert_array_equal(store.read_probabilities(0, np.array([6, 1])), read[[5, 0]])
    best = np.argsort(-rounded, 1, kind="stable")
    for row in range(6):
        np.testing.assert_array_equal(read[row, best[row, :5]], rounded[row, best[row, :5]])
        tail = rounded[row, best[row, 5:]].sum()
        np.testing.assert_allclose(read[row, best[row, 5:]], tail / 45, rtol=2e-3)
    # The effect on the loss, in the manifest.
    true, other = (values.astype(np.float64) / values.sum(1, keepdims=True) for values in (rounded, read))
    apart = (true * np.log(np.maximum(true, 1e-300) / np.maximum(other, 1e-300))).sum(1)
    described = store.describe_top_k([6])
    assert described["top_k"] == 5
    assert described["top_k_divergence"]["mean_nats"] == pytest.approx(apart.mean(), rel=1e-6)
    assert described["top_k_divergence"]["max_nats"] == pytest.approx(apart.max(), rel=1e-6)
    assert LabelStore(store.folder).describe_top_k([6]) == {}


@pytest.mark.parametrize("value", [np.nan, -0.1, 0.0])
def test_answers_that_are_no_probabilities_are_not_written(tmp_path, probs, value):
    probs[2] = value
    store = LabelStore(epath.Path(tmp_path))
    with pytest.raises(UserError, match=r"the teacher's answers for .*shard-00000.npy cannot be kept: 'image-02' has "):
        store.write_labels(0, IDS, probs)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", FORMS)
def test_a_damaged_or_missing_shard_is_reported_with_what_helps(tmp_path, probs, form):
    store, selection = write(tmp_path, form, probs)
    names = ["shard-00001.npy"] + (["shard-00001.probs.npy"] if form != "version 0.1" else [])
    for name in names:
        path = store.folder / name
        whole = path.read_bytes()

        def use():
            TrainingTable(store, selection, source_ids, "these").probabilities(np.array([1, 7]))

        for length in (len(whole) - 7, 40, 0):  # values, header, nothing
            path.write_bytes(whole[:length])
            with pytest.raises(UserError, match=f"{name} is damaged .*: delete it and run again"):
                use()
        path.unlink()
        with pytest.raises(UserError, match=f"{name} is missing: run again, with all stages"):
            use()
        assert not store.has_shard(1) and not store.is_whole()
        path.write_bytes(whole)
        assert store.has_shard(1) and store.is_whole()
        use()


def test_other_probabilities_than_those_that_were_written(stored):
    store, _, probs = stored
    store.check_files(0)
    path = store.probabilities_path(0)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match="shard-00000.probs.npy is damaged .its SHA-256 is not the one"):
        store.check_files(0)


def test_many_shards_are_looked_for_in_one_listing(tmp_path):
    store = LabelStore(epath.Path(tmp_path))
    content = np.eye(2, dtype=np.float32)[:1]
    for shard in range(120):
        store.write_labels(shard, IDS[:1], content) if shard < 3 else store.shard_path(shard).write_bytes(b"")
    store.probabilities_path(1).unlink()
    for shard in range(3, 120):
        store.probabilities_path(shard).write_bytes(b"")
    assert store.written(range(130)) == set(range(120)) - {1}
    assert LabelStore(store.folder / "nothing").written(range(130)) == set()


def test_a_write_that_fails_leaves_the_old_shard_and_nothing_else(stored, monkeypatch):
    store, _, probs = stored
    before, files = store.read_shard(0)["confidence"].copy(), sorted(store.folder.iterdir())

    def disk_is_full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", disk_is_full)
    with pytest.raises(OSError, match="No space left"):
        store.write_labels(0, IDS[:4], probs[4:8])
    monkeypatch.undo()
    np.testing.assert_array_equal(store.read_shard(0)["confidence"], before)
    store.check_files(0)
    assert sorted(store.folder.iterdir()) == files


def test_shards_that_are_read_hold_no_file_descriptors(tmp_path):
    store = LabelStore(epath.Path(tmp_path))
    store.write_labels(0, IDS[:1], np.array([[0.25, 0.75]], np.float32))
    contents = [path.read_bytes() for path in (store.shard_path(0), store.probabilities_path(0))]
    for shard in range(1, 1100):
        for path, content in zip((store.shard_path(shard), store.probabilities_path(shard)), contents, strict=True):
            path.write_bytes(content)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        shards = [(store.read_shard(shard), store.read_probabilities(shard)) for shard in range(1100)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert all(columns["label"].tolist() == [1] and probs.tolist() == [[0.25, 0.75]] for columns, probs in shards)
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
    store = LabelStore(epath.Path(tmp_path), Writing([(0, 3)], lambda indices: IDS[indices], keeps_ids=True))
    store.write_labels(0, IDS[:0], np.empty((0, 3), np.float32))
    assert len(store.read_shard(0)) == 0 and store.read_probabilities(0).shape == (0, 3)
    store.check_files(0)
