"""Stage 'select': filter by confidence, balance the classes. NumPy only; one host does it."""

import numpy as np

from ns_jax.errors import UserError
from ns_jax.parallel.hosts import on_lead
from ns_jax.pseudo_labels.balance import id_hash, select_copies
from ns_jax.pseudo_labels.store import Selection, make_copies
from ns_jax.run.iteration import Iteration
from ns_jax.stages.label import label_store


def selection_of(iteration: Iteration) -> Selection:
    return Selection(iteration.workdir / "selection")


def require_current(iteration: Iteration) -> Selection:
    """The selection of this iteration's pseudo-labels.

    Raises:
      UserError: the labels or the selection are missing, or are not of the same teacher.
    """
    store, selection = label_store(iteration), selection_of(iteration)
    for sidecar, stage in ((store, "label"), (selection, "select")):
        if not sidecar.is_complete():
            raise UserError(f"{sidecar.folder} is not complete: run the {stage} stage first")
    if selection.manifest()["teacher"] != store.manifest()["teacher"]:
        raise UserError(f"{selection.folder} was made from the labels of another teacher: delete it to select again")
    return selection


def run(iteration: Iteration) -> None:
    """Writes the copies of every pseudo-labeled image, and the manifest."""
    if not selection_of(iteration).is_complete():
        on_lead(lambda: _select(iteration))
    manifest = require_current(iteration).manifest()
    names = label_store(iteration).manifest()["class_names"]
    empty = [name for name, count in zip(names, manifest["per_class_after"], strict=True) if not count]
    iteration.say(
        "select",
        f"{manifest['kept']} of {manifest['pseudo_labels']} pseudo-labels kept, "
        f"{manifest['copies']} with copies" + (f"; none for class {', '.join(empty)}" if empty else ""),
    )


def _select(iteration: Iteration) -> None:
    config, store, selection = iteration.config, label_store(iteration), selection_of(iteration)
    if not store.is_complete():
        raise UserError(f"{store.folder} is not complete: run the label stage first")
    labels = store.manifest()
    shards = [store.read_shard(shard) for shard in range(len(labels["ranges"]))]
    label, confidence = (np.concatenate([shard[field] for shard in shards]) for field in ("label", "confidence"))
    lottery = np.concatenate([id_hash(shard["id"], config.seed) for shard in shards])
    classes = len(labels["class_names"])
    copies = select_copies(
        label,
        confidence,
        lottery,
        classes,
        config.min_confidence,
        config.images_per_class,
        config.max_confidence,
        config.unlabeled_fraction,
    )
    if not copies.any():
        share = (
            f" in the share {config.unlabeled_fraction:g} of the images that is used"
            if config.unlabeled_fraction < 1
            else ""
        )
        raise UserError(
            f"no pseudo-label{share} has a confidence above {config.min_confidence}: train a better "
            "teacher, or lower min_confidence"
        )
    ends = np.cumsum([len(shard) for shard in shards])
    for shard, (records, end) in enumerate(zip(shards, ends, strict=True)):
        selection.write_shard(shard, make_copies(records["id"], copies[end - len(records) : end]))
    per_class = lambda weights: np.bincount(label, weights, minlength=classes).astype(int).tolist()
    selection.write_manifest(
        {
            "teacher": labels["teacher"],
            "pseudo_labels": len(copies),
            "kept": int((copies > 0).sum()),
            "copies": int(copies.sum()),
            "per_class_before": per_class(None),
            "per_class_after": per_class(copies),
        }
    )
