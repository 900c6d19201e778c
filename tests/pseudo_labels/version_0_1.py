"""Shards of pseudo-labels and selections as version 0.1 wrote them: records with ids."""

import numpy as np

from ns_jax.pseudo_labels.store import LabelStore


def write_labels(store: LabelStore, shard: int, ids: np.ndarray, probs: np.ndarray) -> None:
    """Writes {id, probs float16 [classes], label int32, confidence float32} of ids [N] and float32 [N, classes]."""
    store.write_shard(shard, make_records(ids, probs))


def make_records(ids: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """Record array [N]."""
    dtype = [("id", ids.dtype), ("probs", "<f2", (probs.shape[1],)), ("label", "<i4"), ("confidence", "<f4")]
    records = np.empty(len(ids), dtype)
    records["id"], records["probs"] = ids, probs.astype(np.float16)
    records["label"], records["confidence"] = probs.argmax(1), probs.max(1)
    return records
