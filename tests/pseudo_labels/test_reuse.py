import numpy as np
import pytest
from etils import epath

from ns_jax.data.sources.base import Source
from ns_jax.errors import UserError
from ns_jax.pseudo_labels.reuse import fingerprint, labeled_indices, read_given
from ns_jax.pseudo_labels.store import LabelStore, Selection, make_copies, make_records, shard_ranges

IDS = np.array([f"image-{i:02d}".encode() for i in range(10)])
COPIES = np.array([0, 1, 2, 0, 3, 0, 0, 1, 5, 0])


def source(ids=IDS) -> Source:
    return Source("made", len(ids), ("a", "b"), None, lambda indices: ids[indices])


@pytest.fixture
def run(tmp_path):
    """A run whose selection is of ten images in shards of four; image 5 could not be read."""
    folder = epath.Path(tmp_path) / "run"
    selection, ranges = Selection(folder / "selection"), shard_ranges(10, 4)
    for shard, (start, stop) in enumerate(ranges):
        rows = np.array([i for i in range(start, stop) if i != 5])[::-1]  # the join goes by id
        selection.write_shard(shard, make_copies(IDS[rows], COPIES[rows]))
    selection.write_manifest({"ranges": [list(bounds) for bounds in ranges], "class_names": ["a", "b"], "copies": 12})
    return folder


def test_selected_images_in_order(run):
    for folder in (run, run / "selection", run.parent):
        given = read_given(folder, source())
        assert given.indices.tolist() == [1, 2, 4, 7, 8] and given.indices.dtype == np.int64
        assert given.copies.tolist() == [1, 2, 3, 1, 5] and given.copies.dtype == np.uint32
        assert given.class_names == ("a", "b") and given.folder == run / "selection"
    assert given.copies_of(np.array([8, 0, 9, 4])).tolist() == [5, 0, 0, 3]
    assert given.copies_of(np.arange(10)).tolist() == COPIES.tolist()


def test_its_fingerprint_is_of_the_selection(run):
    selection = Selection(run / "selection")
    before = fingerprint(selection)
    assert fingerprint(selection) == before
    selection.write_manifest(selection.manifest() | {"copies": 13})
    assert fingerprint(selection) != before


def test_places_of_labels_in_other_shards(tmp_path):
    store, ranges = LabelStore(epath.Path(tmp_path)), shard_ranges(10, 3)
    for shard, (start, stop) in enumerate(ranges):
        rows = np.array([i for i in range(start, stop) if COPIES[i]], int)
        store.write_shard(shard, make_records(IDS[rows], np.full((len(rows), 2), 0.5, np.float32)))
    store.write_manifest({"ranges": [list(bounds) for bounds in ranges]})
    assert labeled_indices(store, source()).tolist() == [1, 2, 4, 7, 8]


def test_other_images(run):
    with pytest.raises(UserError, match="is a selection from 10 images, and made holds 9"):
        read_given(run, source(IDS[:9]))
    renamed = IDS.copy()
    renamed[4] = b"image-xx"
    with pytest.raises(UserError, match=r"shard 1: .*images that made does not hold, first 'image-04'"):
        read_given(run, source(renamed))


def test_folders_without_a_selection_of_their_own(run):
    with pytest.raises(UserError, match=r"selection_from=.*/nothing: there is no such folder"):
        read_given(run / "nothing", source())
    (run / "empty").mkdir()
    with pytest.raises(UserError, match="no selection in it is complete: run its select stage first"):
        read_given(run / "empty", source())
    second = Selection(run.parent / "run_2" / "selection")
    second.write_manifest(Selection(run / "selection").manifest())
    with pytest.raises(UserError, match=r"several of its iterations have a selection: name one of .*/run, .*/run_2"):
        read_given(run.parent, source())
    second.write_manifest({"copies": 12})
    with pytest.raises(UserError, match="does not say of which images it is: delete it and run select again"):
        read_given(second.folder, source())
