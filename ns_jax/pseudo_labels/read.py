"""A label store, as selection rules see it."""

from collections.abc import Iterator

import numpy as np

from ns_jax.pseudo_labels.draws import draw_by_id
from ns_jax.pseudo_labels.rules import PseudoLabels
from ns_jax.pseudo_labels.store import LabelStore


def read_pseudo_labels(store: LabelStore, seed: int) -> PseudoLabels:
    """The pseudo-labels of all shards, in their order; the probabilities stay in their files.

    Args:
      store: a complete one.
      seed: of the random numbers.
    """
    manifest = store.manifest()
    shards = [store.read_shard(shard) for shard in range(len(manifest["ranges"]))]

    def probabilities() -> Iterator[np.ndarray]:
        for shard in shards:
            yield shard["probs"].astype(np.float32)

    ids = np.concatenate([shard["id"] for shard in shards])
    return PseudoLabels(
        ids=ids,
        label=np.concatenate([shard["label"] for shard in shards]),
        confidence=np.concatenate([shard["confidence"] for shard in shards]),
        random=draw_by_id(ids, seed),
        num_classes=len(manifest["class_names"]),
        probabilities=probabilities,
    )
