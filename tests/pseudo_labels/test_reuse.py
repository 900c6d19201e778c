import numpy as np
import pytest
from etils import epath

from ns_jax.data.sources.base import Source
from ns_jax.errors import UserError
from ns_jax.pseudo_labels.reuse import fingerprint, read_given
from ns_jax.pseudo_labels.store import LabelStore, Selection, Writing, shard_ranges

IDS = np.array([f"image-{i:02d}".encode() for i in range(10)])
COPIES = np.array([0, 1, 2, 0, 3, 0, 0, 1, 5, 0])


def source(ids=IDS) -> Source:
    return Source("made", len(ids), ("a", "b"), None, lambda indices: ids[indices])


RANGES = shard_ranges(10, 4)
MANIFEST = {"ranges": [list(bounds) for bounds in RANGES], "class_names": ["a", "b"], "copies": 12}


@pytest.fixture(params=["now", "version 0.1"])
def run(request, tmp_path):
    """A run whose selection is of ten images in shards of four; image 5 could not be read."""
    folder = epath.Path(tmp_path) / "run"
    selection, manifest = Selection(folder / "selection"), MANIFEST | {"source_identity": "these"}
    if request.param == "version 0.1":
        del manifest["source_identity"]
    for shard, (start, stop) in enumerate(RANGES):
        if request.param == "version 0.1":
            rows = np.setdiff1d(np.arange(start, stop), [5])[::-1]  # the join goes by id
            selection.write_records(shard, IDS[rows], COPIES[rows])
        else:
            selection.write_copies(shard, COPIES[start:stop].astype(np.uint32))
    selection.write_manifest(manifest)
    return folder


def is_old(run) -> bool:
    return "source_identity" not in Selection(run / "selection").manifest()


def test_selected_images_in_order(run):
    for folder in (run, run / "selection", run.parent):
        given = read_given(folder, source(), "these")
        assert given.indices.tolist() == [1, 2, 4, 7, 8] and given.indices.dtype == np.int64
        assert given.class_names == ("a", "b") and given.folder == run / "selection"
    assert given.copies.dtype == np.uint8  # a byte an image of the source
    assert given.copies_of(np.array([8, 0, 9, 4])).tolist() == [5, 0, 0, 3]
    assert given.copies_of(np.arange(10)).tolist() == COPIES.tolist()
    assert given.copies_of(np.arange(10)).dtype == np.uint32


def test_more_copies_than_a_byte_holds(tmp_path):
    selection, many = Selection(epath.Path(tmp_path)), COPIES.astype(np.uint32)
    many[4] = 70_000
    for shard, (start, stop) in enumerate(RANGES):
        selection.write_copies(shard, many[start:stop])
    selection.write_manifest(MANIFEST)
    assert read_given(selection.folder, source()).copies_of(np.arange(10)).tolist() == many.tolist()


def test_its_fingerprint_is_of_the_selection(run):
    selection = Selection(run / "selection")
    before = fingerprint(selection)
    assert fingerprint(selection) == before
    selection.write_manifest(selection.manifest() | {"copies": 13})
    assert fingerprint(selection) != before


def test_other_images(run):
    with pytest.raises(UserError, match="is a selection from 10 images, and made holds 9"):
        read_given(run, source(IDS[:9]), "these")
    renamed = IDS.copy()
    renamed[4] = b"image-xx"
    words = r"shard 1: .*that made does not hold, first 'image-04'" if is_old(run) else "that made does not hold: they"
    with pytest.raises(UserError, match=f"{words}"):
        read_given(run, source(renamed), "others")


def test_a_source_that_was_re_ordered(run):
    """The ids that the labels beside the selection keep tell which images they were."""
    order = np.array([2, 3, 0, 1, 7, 6, 5, 4, 9, 8])
    if not is_old(run):
        store = LabelStore(run / "labels", Writing(RANGES, source().ids, keeps_ids=True))
        for shard, (start, stop) in enumerate(RANGES):
            rows = np.setdiff1d(np.arange(start, stop), [5])
            store.write_labels(shard, IDS[rows], np.full((len(rows), 2), 0.5, np.float32))
        store.write_manifest(MANIFEST | {"source_identity": "these"})
    given = read_given(run, source(IDS[order]), "others")
    assert given.copies_of(np.arange(10)).tolist() == COPIES[order].tolist()


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
