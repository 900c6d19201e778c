"""Stage 'select': which pseudo-labels are trained on, and how often. NumPy only; process 0 does it."""

import numpy as np

from ns_jax.errors import UserError
from ns_jax.parallel.hosts import on_process_zero
from ns_jax.pseudo_labels.read import read_pseudo_labels
from ns_jax.pseudo_labels.rules import SELECTION_RULES, SelectionSettings, apply_rule
from ns_jax.pseudo_labels.store import LabelStore, Selection, make_copies
from ns_jax.run.iteration import Iteration, has_stored_labels
from ns_jax.run.paths import IterationPaths
from ns_jax.run.settings import selection_settings
from ns_jax.run.stages import Stage


def require_current(paths: IterationPaths) -> Selection:
    """The selection of an iteration's pseudo-labels.

    Raises:
      UserError: the labels or the selection are missing, or are not of the same teacher.
    """
    store, selection = LabelStore(paths.labels), Selection(paths.selection)
    for sidecar, stage in ((store, "label"), (selection, "select")):
        if not sidecar.is_complete():
            raise UserError(f"{sidecar.folder} is not complete: run the {stage} stage first")
    if selection.manifest()["teacher"] != store.manifest()["teacher"]:
        raise UserError(f"{selection.folder} was made from the labels of another teacher: delete it to select again")
    return selection


def run(iteration: Iteration) -> None:
    """Writes the copies of every pseudo-labeled image, and the manifest."""
    config, paths = iteration.config, iteration.paths
    if not Selection(paths.selection).is_complete():
        settings = selection_settings(config)
        on_process_zero(lambda: select(paths, config.selection, settings, config.seed))
    manifest = require_current(paths).manifest()
    class_names = LabelStore(paths.labels).manifest()["class_names"]
    kept = zip(class_names, manifest["per_class_after"], strict=True)
    empty = [name for name, count in kept if not count]
    iteration.say(
        "select",
        f"{manifest['kept']} of {manifest['pseudo_labels']} pseudo-labels kept, {manifest['copies']} with copies"
        + (f"; none for class {', '.join(empty)}" if empty else ""),
    )


def select(paths: IterationPaths, rule: str, settings: SelectionSettings, seed: int) -> None:
    """Applies a selection rule to an iteration's labels and writes the selection.

    Raises:
      UserError: the labels are not complete, or no pseudo-label is kept.
    """
    store, selection = LabelStore(paths.labels), Selection(paths.selection)
    if not store.is_complete():
        raise UserError(f"{store.folder} is not complete: run the label stage first")
    labels = read_pseudo_labels(store, seed)
    copies = apply_rule(rule, labels, settings)
    if not copies.any():
        share = ""
        if settings.unlabeled_fraction < 1:
            share = f" in the share {settings.unlabeled_fraction:g} of the images that is used"
        raise UserError(
            f"no pseudo-label{share} passes the rule {rule!r} with min_confidence={settings.min_confidence}: train a "
            "better teacher, or lower min_confidence"
        )
    end = 0
    for number, count in enumerate(store.manifest()["counts"]):
        start, end = end, end + count
        selection.write_shard(number, make_copies(store.read_shard(number)["id"], copies[start:end]))
    per_class = lambda weights: np.bincount(labels.label, weights, labels.num_classes).astype(int).tolist()
    selection.write_manifest(
        {
            "teacher": store.manifest()["teacher"],
            "rule": rule,
            "pseudo_labels": len(copies),
            "kept": int((copies > 0).sum()),
            "copies": int(copies.sum()),
            "per_class_before": per_class(None),
            "per_class_after": per_class(copies),
        }
    )


def check(iteration: Iteration) -> None:
    """Raises UserError for a selection rule that does not exist."""
    SELECTION_RULES.get(iteration.config.selection)


STAGE = Stage(run, applies=has_stored_labels, check=check)
