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
from ns_jax.pseudo_labels.store import MANIFEST, LabelStore, Selection


@dataclasses.dataclass(frozen=True)
class GivenSelection:
    """A selection of images of an open source.

    Attributes:
      folder: of the selection.
      indices: int64 [S], ascending, of the selected images in the source.
      copies: uint32 [S], at least 1.
      class_names: of the labels by which it was made.
    """

    folder: epath.Path
    indices: np.ndarray
    copies: np.ndarray
    class_names: tuple[str, ...]

    def copies_of(self, indices: np.ndarray) -> np.ndarray:
        """Copies of images of the source, uint32 [N], of their int64 indices [N]; 0 where they are not selected."""
        places = np.minimum(np.searchsorted(self.indices, indices), len(self.indices) - 1)
        return np.where(self.indices[places] == indices, self.copies[places], 0).astype(np.uint32)


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


def read_given(run: epath.Path, source: Images) -> GivenSelection:
    """Reads a selection of the images of `source`.

    Raises:
      UserError: see `open_given`; or it has images that `source` does not hold; names the first.
    """
    selection = open_given(run, source)
    manifest = selection.manifest()
    indices, copies = [], []
    for shard, (start, stop) in enumerate(manifest["ranges"]):
        records = selection.read_shard(shard)
        chosen = records[records["copies"] > 0]
        ids = source.ids(np.arange(start, stop, dtype=np.int64))
        require_known(f"{selection.folder} has images that {source.name} does not hold", shard, chosen["id"], ids)
        places = start + positions(ids, chosen["id"])
        in_order = np.argsort(places)
        indices.append(places[in_order])
        copies.append(chosen["copies"][in_order])
    return GivenSelection(
        folder=selection.folder,
        indices=np.concatenate(indices).astype(np.int64),
        copies=np.concatenate(copies).astype(np.uint32),
        class_names=tuple(manifest["class_names"]),
    )


def labeled_indices(store: LabelStore, source: Images) -> np.ndarray:
    """Index in the source of every pseudo-label, int64 [N], in the order of the store."""
    indices = []
    for shard, (start, stop) in enumerate(store.manifest()["ranges"]):
        ids = source.ids(np.arange(start, stop, dtype=np.int64))
        labeled = store.read_shard(shard)["id"]
        require_known("pseudo-labels of images that the source does not hold", shard, labeled, ids)
        indices.append(start + positions(ids, labeled))
    return np.concatenate(indices).astype(np.int64)
