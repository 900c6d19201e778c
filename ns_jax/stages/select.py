"""Stage 'select': filter by confidence, balance the classes. NumPy only; one host does it."""

import numpy as np

from ns_jax.errors import UserError
from ns_jax.parallel.hosts import barrier, is_lead
from ns_jax.pseudo_labels.balance import id_hash, select_copies
from ns_jax.pseudo_labels.store import Selection
from ns_jax.stages.common import Iteration
from ns_jax.stages.label import label_store


def selection_of(iteration: Iteration) -> Selection:
    return Selection(iteration.workdir / "selection")


def run(iteration: Iteration) -> None:
    """Writes the copies of every pseudo-labeled image, and the manifest."""
    config, store, selection = iteration.config, label_store(iteration), selection_of(iteration)
    if not store.is_complete():
        raise UserError(f"{store.folder} is not complete: run the label stage first")
    if not selection.is_complete() and is_lead():
        labels = store.manifest()
        shards = [store.read_shard(shard) for shard in range(len(labels["ranges"]))]
        label, confidence = (np.concatenate([shard[field] for shard in shards]) for field in ("label", "confidence"))
        lottery = np.concatenate([id_hash(shard["id"], config.seed) for shard in shards])
        classes = labels["class_names"]
        copies = select_copies(label, confidence, lottery, len(classes), config.min_confidence,
                               config.images_per_class)  # fmt: skip
        if not copies.any():
            raise UserError(f"no pseudo-label has a confidence above {config.min_confidence}: train a better "
                            "teacher, or lower min_confidence")  # fmt: skip
        ends = np.cumsum([len(shard) for shard in shards])
        for shard, (records, end) in enumerate(zip(shards, ends, strict=True)):
            selection.write_shard(shard, records["id"], copies[end - len(records) : end])
        per_class = lambda weights: np.bincount(label, weights, minlength=len(classes)).astype(int).tolist()
        selection.write_manifest({
            "teacher": labels["teacher"], "pseudo_labels": len(copies), "kept": int((copies > 0).sum()),
            "copies": int(copies.sum()), "per_class_before": per_class(None), "per_class_after": per_class(copies),
            "per_class_unique": per_class(copies > 0)})  # fmt: skip
    barrier("select: done")
    manifest = selection.manifest()
    empty = [name for name, count in zip(store.manifest()["class_names"], manifest["per_class_after"], strict=True)
             if not count]  # fmt: skip
    iteration.say("select", f"{manifest['kept']} of {manifest['pseudo_labels']} pseudo-labels kept, "
                  f"{manifest['copies']} with copies" + (f"; none for class {', '.join(empty)}" if empty else ""))  # fmt: skip
