"""The rows of a run's label store, joined to its selection and to the images of its source, a shard at a time."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ns_jax.pseudo_labels.ids import positions, require_known
from ns_jax.pseudo_labels.store import LabelStore, Selection


class JoinedRows(NamedTuple):
    """The rows of a shard, in the order of the store.

    Attributes:
      copies: uint32 [rows], how often each is trained on.
      places: int64 [rows], where the image of each is among those of the shard; None where row r is image r of it, as
        it is unless the source was re-ordered or the store is of version 0.1.
    """

    copies: np.ndarray
    places: np.ndarray | None


def join_rows(
    store: LabelStore, selection: Selection, shard: int, source_ids: Callable[[np.ndarray], np.ndarray]
) -> JoinedRows:
    """Joins the labels and the selection of a shard to its images.

    The image of a row is number `start + place` of the source, and its probabilities are those of
    `store.read_probabilities(shard, rows)`.

    Args:
      store: a complete label store.
      selection: a complete selection of it.
      shard: its number.
      source_ids: int64 indices [N] to the source's ids [N].

    Raises:
      UserError: an id that one of the three has and another lacks (names the shard and the id), or more copies than
        the selection's manifest says.
    """
    start, stop = store.manifest()["ranges"][shard]
    labeled, selected = store.read_shard(shard)["id"], selection.read_shard(shard)["id"]
    ids = source_ids(np.arange(start, stop, dtype=np.int64))
    require_known("pseudo-labels of images that the source does not hold", shard, labeled, ids)
    require_known("selected images without a pseudo-label", shard, selected, labeled)
    require_known("pseudo-labels that selection never saw", shard, labeled, selected)
    copies = selection.read_copies(shard)[positions(selected, labeled)]
    if copies.sum(dtype=np.uint64) > selection.manifest().get("copies", np.inf):
        raise selection.damaged(shard, "more copies than its manifest says")
    return JoinedRows(copies, positions(ids, labeled))
