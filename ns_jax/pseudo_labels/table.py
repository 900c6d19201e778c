"""The selected pseudo-labels, joined to the images that they belong to."""

import dataclasses
from collections.abc import Callable

import numpy as np

from ns_jax.pseudo_labels.ids import positions, require_known
from ns_jax.pseudo_labels.store import LabelStore, Selection


@dataclasses.dataclass(frozen=True)
class TrainingTable:
    """The selected pseudo-labels, joined to the source.

    Attributes:
      source_index: int64 [M], index into the source; an image with k copies occurs k times.
      shard, record: int64 [M], in which shard its record is, and which one it is there.
      shards: the record arrays.
    """

    source_index: np.ndarray
    shard: np.ndarray
    record: np.ndarray
    shards: list[np.ndarray]

    def probs(self, examples: np.ndarray) -> np.ndarray:
        """Probabilities of the entries `examples`, int64 [N]: float32 [N, classes]."""
        probs = np.empty((len(examples), self.shards[0]["probs"].shape[1]), np.float32)
        shard, record = self.shard[examples], self.record[examples]
        for number in np.unique(shard):
            in_shard = shard == number
            probs[in_shard] = self.shards[number]["probs"][record[in_shard]]
        return probs


def join(store: LabelStore, selection: Selection, source_ids: Callable[[np.ndarray], np.ndarray]) -> TrainingTable:
    """Joins labels, selection and images by id.

    Args:
      store: a complete label store.
      selection: a complete selection of it.
      source_ids: int64 indices [N] to the source's ids [N].

    Raises:
      UserError: an id that one of the three has and another lacks (names the shard and the id), or more copies than
        the selection's manifest says.
    """
    source_indices, shard_numbers, record_numbers, shards = [], [], [], []
    most = selection.manifest().get("copies", np.inf)  # a damaged number of copies could fill the memory
    for shard, (start, stop) in enumerate(store.manifest()["ranges"]):
        records, selected = store.read_shard(shard), selection.read_shard(shard)
        ids = source_ids(np.arange(start, stop, dtype=np.int64))
        require_known("pseudo-labels of images that the source does not hold", shard, records["id"], ids)
        require_known("selected images without a pseudo-label", shard, selected["id"], records["id"])
        require_known("pseudo-labels that selection never saw", shard, records["id"], selected["id"])
        copies = selected["copies"][positions(selected["id"], records["id"])]
        most -= copies.sum(dtype=np.uint64).astype(np.float64)
        if most < 0:
            raise selection.damaged(shard, "more copies than its manifest says")
        source_indices.append(np.repeat(start + positions(ids, records["id"]), copies))
        record_numbers.append(np.repeat(np.arange(len(records)), copies))
        shard_numbers.append(np.full(copies.sum(), shard))
        shards.append(records)
    return TrainingTable(
        source_index=np.concatenate(source_indices).astype(np.int64),
        shard=np.concatenate(shard_numbers).astype(np.int64),
        record=np.concatenate(record_numbers).astype(np.int64),
        shards=shards,
    )
