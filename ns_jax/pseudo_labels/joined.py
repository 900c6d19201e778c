"""The rows of a run's label store, joined to its selection and to the images of its source, a shard at a time.

Row r of a shard is image `start + r` of the source, as long as that is the source that was labeled: it says so itself
(`Source.identity`), or by the digest of its ids. Where it was re-ordered since, the ids that were kept tell. Shards of
version 0.1 are joined by their ids.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ns_jax.errors import UserError
from ns_jax.pseudo_labels.columns import Columns
from ns_jax.pseudo_labels.ids import positions, require_known
from ns_jax.pseudo_labels.store import LabelStore, Selection

STRANGERS = "pseudo-labels of images that the source does not hold"


class JoinedRows(NamedTuple):
    """The rows of a shard, in the order of the store.

    Attributes:
      copies: uint32 [rows], how often each is trained on; 0 where an image has no pseudo-label.
      places: int64 [rows], where the image of each is among those of the shard; None where row r is image r of it, as
        it is unless the source was re-ordered or the store is of version 0.1.
    """

    copies: np.ndarray
    places: np.ndarray | None


def ids_of(
    store: LabelStore, rows: np.ndarray, source_ids: Callable[[np.ndarray], np.ndarray] | None = None
) -> np.ndarray:
    """Ids of images with a pseudo-label.

    Args:
      store: a complete label store.
      rows: int64 [N], `start + row` of each.
      source_ids: int64 indices [N] to ids [N], where the store has none.

    Returns:
      Byte strings [N]; b'#' and the index where nobody knows.
    """
    starts = np.array([start for start, _ in store.manifest("ranges")["ranges"]])
    shards, ids = np.searchsorted(starts, rows, "right") - 1, np.empty(len(rows), object)
    for shard in np.unique(shards).tolist():
        places = np.flatnonzero(shards == shard)
        columns = store.read_shard(shard)
        if columns.ids is not None:
            ids[places] = columns.ids[np.searchsorted(columns.rows, rows[places] - starts[shard])]
        elif source_ids is not None:
            ids[places] = source_ids(rows[places])
        else:
            ids[places] = [b"#%d" % index for index in rows[places].tolist()]
    return ids.astype("S") if len(ids) else np.empty(0, "S1")


class Places:
    """Where the images of a store's rows are in a source.

    Args:
      store: a complete label store.
      source_ids: int64 indices [N] to the source's ids [N].
      identity: of the source, see `ns_jax.data.sources.base.identity_of`; '' where that is not known.
    """

    def __init__(self, store: LabelStore, source_ids: Callable[[np.ndarray], np.ndarray], identity: str = ""):
        manifest = store.manifest("ranges")
        self.store, self.source_ids, self.ranges = store, source_ids, [tuple(bounds) for bounds in manifest["ranges"]]
        self._is_same = bool(identity) and manifest.get("source_identity") == identity

    def ids(self, shard: int) -> np.ndarray:
        """Ids of the source's images of a shard, as they are now."""
        return self.source_ids(np.arange(*self.ranges[shard], dtype=np.int64))

    def indices(self, shard: int, columns: Columns) -> np.ndarray:
        """Index in the source of each pseudo-label of a shard, int64 [n]. Raises UserError: see `of_labels`."""
        return self.ranges[shard][0] + self.of_labels(shard, columns)

    def of_labels(self, shard: int, columns: Columns) -> np.ndarray:
        """The place of each pseudo-label's image among those of the shard, int64 [n].

        Raises:
          UserError: the source is another one; names the first image that it lacks where ids are kept.
        """
        if self._is_same and not columns.is_old:
            return columns.rows
        if columns.ids is None:
            if self.store.manifest().get("source_identity") is None:
                return columns.rows
            raise UserError(
                f"{self.store.folder} is of other images than the source holds now: delete it to label again"
            )
        ids = self.ids(shard)
        rows = columns.rows
        if not columns.is_old and len(rows) <= len(ids) and np.array_equal(ids[rows], columns.ids):
            return rows
        require_known(STRANGERS, shard, columns.ids, ids)
        return positions(ids, columns.ids)


class Joined:
    """A label store and its selection, joined to a source.

    Args:
      store: a complete label store.
      selection: a complete selection of it.
      source_ids: int64 indices [N] to the source's ids [N].
      identity: see `Places`; where it is given, ids are looked at in stores of version 0.1 and re-ordered sources only.
    """

    def __init__(
        self,
        store: LabelStore,
        selection: Selection,
        source_ids: Callable[[np.ndarray], np.ndarray],
        identity: str = "",
    ):
        self._places, self._store, self._selection = Places(store, source_ids, identity), store, selection
        self.ranges = self._places.ranges

    def rows(self, shard: int) -> JoinedRows:
        """Joins the labels and the selection of a shard to its images.

        The image of a row is number `start + place` of the source, and its probabilities are those of
        `store.read_probabilities(shard, rows)`.

        Raises:
          UserError: an image that one of the three has and another lacks; names the shard.
        """
        columns, start, stop = self._store.read_shard(shard), *self.ranges[shard]
        places = self._places.of_labels(shard, columns)
        of_labels = copies_of(self._selection, shard, columns, stop - start)
        if columns.is_old:
            return JoinedRows(of_labels, places)
        rows, copies = columns.rows, np.zeros(stop - start, np.uint32)
        copies[rows] = of_labels
        if np.array_equal(places, rows):
            return JoinedRows(copies, None)
        of_rows = np.arange(stop - start)
        of_rows[rows] = places
        return JoinedRows(copies, of_rows)


def copies_of(selection: Selection, shard: int, columns: Columns, num_rows: int) -> np.ndarray:
    """How often each pseudo-label of a shard is trained on, uint32 [n].

    Args:
      selection: a complete one.
      shard: its number.
      columns: of the labels.
      num_rows: images of the shard.

    Raises:
      UserError: an image that one of the two has and the other lacks; names the shard, and the image by its id if kept.
    """
    stored, copies = selection.read_shard(shard), selection.read_copies(shard)
    if stored.dtype.names:
        if columns.ids is None:
            raise UserError(f"{selection.folder} is not of these labels: delete it to select again")
        require_known("selected images without a pseudo-label", shard, stored["id"], columns.ids)
        require_known("pseudo-labels that selection never saw", shard, columns.ids, stored["id"])
        return copies[positions(stored["id"], columns.ids)]
    if columns.is_old or len(copies) != num_rows:
        raise selection.damaged(shard, f"it has {len(copies)} images, and the shard has {num_rows}")
    of_labels = copies[columns.rows]
    if np.count_nonzero(copies) != np.count_nonzero(of_labels):
        raise UserError(f"shard {shard}: {selection.folder} has selected images without a pseudo-label")
    return of_labels
