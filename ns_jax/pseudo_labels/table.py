"""The selected pseudo-labels, joined to the images that they belong to."""

import dataclasses
from collections.abc import Callable

import numpy as np

from ns_jax.pseudo_labels.joined import Joined
from ns_jax.pseudo_labels.store import LabelStore, Selection


@dataclasses.dataclass(frozen=True)
class TrainingTable:
    """The selected pseudo-labels, joined to the source.

    Attributes:
      source_index: int64 [M], index into the source; an image with k copies occurs k times.
      shard, record: int64 [M], in which shard its probabilities are, and in which row of it.
      store: that has them.
    """

    source_index: np.ndarray
    shard: np.ndarray
    record: np.ndarray
    store: LabelStore

    def probs(self, examples: np.ndarray) -> np.ndarray:
        """Probabilities of the entries `examples`, int64 [N]: float32 [N, classes]."""
        shard, record = self.shard[examples], self.record[examples]
        probs = np.empty((len(examples), 0), np.float32)
        for number in np.unique(shard).tolist():
            in_shard = shard == number
            some = self.store.read_probabilities(number, record[in_shard])
            if not probs.shape[1]:
                probs = np.empty((len(examples), some.shape[1]), np.float32)
            probs[in_shard] = some
        return probs


def join(
    store: LabelStore, selection: Selection, source_ids: Callable[[np.ndarray], np.ndarray], identity: str = ""
) -> TrainingTable:
    """Makes the table of all copies. Arguments and errors as of `Joined`."""
    joined = Joined(store, selection, source_ids, identity)
    source_indices, shard_numbers, record_numbers = [], [], []
    for shard, (start, _) in enumerate(joined.ranges):
        copies, places = joined.rows(shard)
        rows = np.arange(len(copies))
        source_indices.append(np.repeat(start + (rows if places is None else places), copies))
        record_numbers.append(np.repeat(rows, copies))
        shard_numbers.append(np.full(copies.sum(), shard))
    return TrainingTable(
        source_index=np.concatenate(source_indices).astype(np.int64),
        shard=np.concatenate(shard_numbers).astype(np.int64),
        record=np.concatenate(record_numbers).astype(np.int64),
        store=store,
    )
