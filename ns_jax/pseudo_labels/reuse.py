"""The selection of another run, whose images a teacher labels anew (paper section 3.1; official reassign.sh).

The paper filters and balances once, with an EfficientNet-B0, and every later teacher labels the images that it kept.
"""

import dataclasses
import hashlib
import json

import numpy as np
from etils import epath

from ns_jax.errors import UserError
from ns_jax.pseudo_labels.ids import Images, positions, require_known
from ns_jax.pseudo_labels.joined import Places
from ns_jax.pseudo_labels.store import MANIFEST, LabelStore, Selection


@dataclasses.dataclass(frozen=True)
class GivenSelection:
    """A selection of images of an open source.

    Attributes:
      folder: of the selection.
      copies: unsigned integers [count], of all images of the source; 0 where they are not selected.
      class_names: of the labels by which it was made.
    """

    folder: epath.Path
    copies: np.ndarray
    class_names: tuple[str, ...]

    @property
    def indices(self) -> np.ndarray:
        """int64 [S], ascending, of the selected images in the source."""
        return np.flatnonzero(self.copies)

    def copies_of(self, indices: np.ndarray) -> np.ndarray:
        """Copies of images of the source, uint32 [N], of their int64 indices [N]."""
        return self.copies[indices].astype(np.uint32)


def find_selection(run: epath.Path) -> Selection:
    """The complete selection in a run's folder, in that of one of its iterations, or in the folder itself.

    Raises:
      UserError: there is none, or there are several iterations with one; names them.
    """
    for folder in (run, run / "selection"):
        selection = Selection(folder)
        if selection.is_complete() and "copies" in selection.manifest():
            return selection
    if not run.is_dir():
        raise UserError(f"selection_from={run}: there is no such folder")
    iterations = sorted(path.parent.parent for path in run.glob(f"*/selection/{MANIFEST}"))
    if len(iterations) == 1:
        return Selection(iterations[0] / "selection")
    if not iterations:
        raise UserError(f"selection_from={run}: no selection in it is complete: run its select stage first")
    names = ", ".join(str(folder) for folder in iterations)
    raise UserError(f"selection_from={run}: several of its iterations have a selection: name one of {names}")


def open_given(run: epath.Path, source: Images) -> Selection:
    """The selection in a run's folder, its manifest compared with `source`.

    Raises:
      UserError: see `find_selection`; or it is of another number of images, or does not say of which.
    """
    selection = find_selection(run)
    manifest = selection.manifest()
    if "ranges" not in manifest:
        raise UserError(f"{selection.folder} does not say of which images it is: delete it and run select again")
    count = manifest["ranges"][-1][1]
    if count != source.count:
        raise UserError(
            f"{selection.folder} is a selection from {count} images, and {source.name} holds {source.count}: they must "
            "be the same"
        )
    return selection


def fingerprint(selection: Selection) -> str:
    """SHA-256 of a selection's manifest, which says whose labels it was made of, and how many images it kept."""
    return hashlib.sha256(json.dumps(selection.manifest(), sort_keys=True).encode()).hexdigest()


def read_given(run: epath.Path, source: Images, identity: str = "") -> GivenSelection:
    """Reads a selection of the images of `source`.

    Args:
      run: folder of the selection, or of a run.
      source: of the images.
      identity: of the source, see `ns_jax.pseudo_labels.joined.Places`.

    Raises:
      UserError: see `open_given`; or it has images that `source` does not hold; names the first where ids are kept.
    """
    selection = open_given(run, source)
    manifest, places = selection.manifest(), None
    if "source_identity" in manifest and manifest["source_identity"] != identity:
        store = LabelStore(selection.folder.parent / "labels")
        if not store.is_complete() or store.manifest().get("source_identity") != manifest["source_identity"]:
            raise UserError(f"{selection.folder} has images that {source.name} does not hold: they are other ones now")
        places = Places(store, source.ids, identity)
    copies = np.zeros(source.count, np.uint8)
    for shard, (start, stop) in enumerate(manifest["ranges"]):
        of_shard = _copies_in_order(selection, shard, source, range(start, stop), places)
        if of_shard.max(initial=0) > np.iinfo(copies.dtype).max:
            copies = copies.astype(np.uint32)
        copies[start:stop] = of_shard
    return GivenSelection(folder=selection.folder, copies=copies, class_names=tuple(manifest["class_names"]))


def _copies_in_order(
    selection: Selection, shard: int, source: Images, bounds: range, places: Places | None
) -> np.ndarray:
    """Copies of the source's images of a shard as they are now, uint32 [stop - start]."""
    records, copies = selection.read_shard(shard), selection.read_copies(shard)
    if records.dtype.names is None:
        if len(copies) != len(bounds):
            raise selection.damaged(shard, f"it has {len(copies)} images, and the shard has {len(bounds)}")
        if places is None:
            return copies
        columns = places.store.read_shard(shard)
        in_order = np.zeros(len(bounds), np.uint32)
        in_order[places.of_labels(shard, columns)] = copies[columns.rows]
        return in_order
    chosen = records[records["copies"] > 0]
    ids = source.ids(np.arange(bounds.start, bounds.stop, dtype=np.int64))
    require_known(f"{selection.folder} has images that {source.name} does not hold", shard, chosen["id"], ids)
    in_order = np.zeros(len(bounds), np.uint32)
    in_order[positions(ids, chosen["id"])] = chosen["copies"]
    return in_order
