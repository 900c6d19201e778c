"""Stage 'select': which pseudo-labels are trained on, and how often. NumPy only; process 0 does it."""

import dataclasses
from collections.abc import Callable

import numpy as np

from ns_jax.artifact.metadata import read_metadata
from ns_jax.data.sources.base import Source
from ns_jax.errors import UserError
from ns_jax.evaluators.calibration import confidence_for_precision
from ns_jax.files import file_sha256
from ns_jax.parallel.hosts import on_process_zero
from ns_jax.pseudo_labels.draws import draw_share
from ns_jax.pseudo_labels.read import read_pseudo_labels
from ns_jax.pseudo_labels.reuse import GivenSelection, labeled_indices, open_given, read_given
from ns_jax.pseudo_labels.rules import SELECTION_RULES, PseudoLabels, apply_rule
from ns_jax.pseudo_labels.store import LabelStore, Selection, make_copies
from ns_jax.run.inputs import check_classes, check_same_classes
from ns_jax.run.iteration import Iteration, has_stored_labels
from ns_jax.run.paths import IterationPaths
from ns_jax.run.settings import selection_settings
from ns_jax.run.sidecars import check_unchanged
from ns_jax.run.stages import Stage
from ns_jax.run.validation import folder_of_model, read_validated


def require_current(iteration: Iteration) -> Selection:
    """The selection of an iteration's pseudo-labels.

    Raises:
      UserError: the labels or the selection are missing, or are not of the same teacher, or of another config.
    """
    paths = iteration.paths
    store, selection = LabelStore(paths.labels), Selection(paths.selection)
    for sidecar, stage in ((store, "label"), (selection, "select")):
        if not sidecar.is_complete():
            raise UserError(f"{sidecar.folder} is not complete: run the {stage} stage first")
    required = {
        "label": (store, ("teacher", "ranges", "class_names")),
        "select": (
            selection,
            ("teacher", "ranges", "class_names", "pseudo_labels", "kept", "copies", "per_class_after"),
        ),
    }
    for verb, (sidecar, fields) in required.items():
        manifest = sidecar.manifest(*fields)
        iteration.require_own(str(sidecar.folder), manifest, "config", f"delete it to {verb} again")
    if selection.manifest().get("ranges") != store.manifest()["ranges"]:
        raise UserError(f"{selection.folder} is not of {store.folder}: delete it to select again")
    if selection.manifest()["teacher"] != store.manifest()["teacher"]:
        raise UserError(f"{selection.folder} was made from the labels of another teacher: delete it to select again")
    return selection


def given_selection(iteration: Iteration, source: Source) -> GivenSelection | None:
    """The selection that the field `selection_from` names; None where the teacher selects by its own labels.

    Raises:
      UserError: there is none, or it is of other images, or of other classes than the teacher's.
    """
    if iteration.selection_from is None:
        return None
    given = read_given(iteration.selection_from, source)
    class_names = read_metadata(iteration.teacher)["class_names"]
    check_same_classes(str(given.folder), given.class_names, f"the teacher {iteration.teacher}", class_names)
    return given


def run(iteration: Iteration) -> None:
    """Writes the copies of every pseudo-labeled image, and the manifest."""
    config, paths = iteration.config, iteration.paths
    if not Selection(paths.selection).is_whole():
        rule, choose = chooser(iteration)
        if LabelStore(paths.labels).is_complete():
            check_unchanged(LabelStore(paths.labels))
        on_process_zero(
            lambda: select(paths, rule, choose, config.unlabeled_fraction, config.seed, iteration.fingerprints[0])
        )
    manifest = require_current(iteration).manifest()
    kept = list(zip(manifest["class_names"], manifest["per_class_after"], strict=True))
    empty = [name for name, count in kept if not count]
    too_few = [f"{name} ({count})" for name, count in kept if count < config.min_images_of_class]
    iteration.say(
        "select",
        f"{manifest['kept']} of {manifest['pseudo_labels']} pseudo-labels kept, {manifest['copies']} with copies"
        + (f"; none for class {', '.join(empty)}" if empty else ""),
    )
    if too_few:
        raise UserError(
            f"{iteration.title('select')}: too few pseudo-labels of class {', '.join(too_few)}, and the student would "
            f"forget it (min_images_of_class={config.min_images_of_class}): label more images of it, or lower "
            f"min_confidence; delete {paths.selection} to select again"
        )


def chooser(iteration: Iteration) -> tuple[str, Callable[[PseudoLabels], np.ndarray]]:
    """What chooses among an iteration's labels: its name, and the function from labels to uint32 [N] copies.

    Raises:
      UserError: see `given_selection`. The function: no pseudo-label passes the rule.
    """
    config = iteration.config
    source = iteration.inputs.open("unlabeled")
    given, store = given_selection(iteration, source), LabelStore(iteration.paths.labels)

    def by_rule(labels: PseudoLabels) -> np.ndarray:
        settings = selection_settings(config)
        settings = dataclasses.replace(settings, min_confidence=threshold(iteration))
        copies = apply_rule(config.selection, labels, settings)
        if not copies.any():
            raise UserError(
                f"no pseudo-label passes the rule {config.selection!r} with "
                f"min_confidence={settings.min_confidence:g}: train a better teacher, or lower min_confidence"
            )
        return copies

    if given is None:
        return config.selection, by_rule
    return f"as {given.folder}", lambda labels: given.copies_of(labeled_indices(store, source))


def threshold(iteration: Iteration) -> float:
    """The confidence that pseudo-labels must exceed: min_confidence, or where validation is right often enough above.

    Raises:
      UserError: the teacher has not been validated, or not even its surest answers are right so often.
    """
    config = iteration.config
    if not config.min_precision:
        return config.min_confidence
    validated = read_validated(folder_of_model(iteration.teacher))
    if validated is None:
        raise UserError(f"min_precision: no evaluations/validation.json beside the teacher {iteration.teacher}")
    probs = validated.calibrated if config.calibrate else validated.predictions.probs
    confidence = confidence_for_precision(probs, validated.predictions.labels, config.min_precision)
    if confidence is None:
        raise UserError(
            f"{iteration.title('select')}: not even the teacher's surest answers are right to {config.min_precision:g} "
            "on validation: lower min_precision, or label more images"
        )
    iteration.say("select", f"answers above confidence {confidence:.2f} are right to {config.min_precision:g}")
    return max(config.min_confidence, confidence)


def select(paths: IterationPaths, rule: str, choose: Callable, share: float, seed: int, made_by: str) -> None:
    """Chooses among an iteration's labels and writes the selection.

    Args:
      paths: of the iteration.
      rule: what chooses, for the manifest.
      choose: PseudoLabels to uint32 [N] copies.
      share: of the chosen copies that is kept, drawn at random.
      seed: of all random draws.
      made_by: fingerprint of the config.

    Raises:
      UserError: the labels are not complete, or no image is chosen.
    """
    store, selection = LabelStore(paths.labels), Selection(paths.selection)
    if not store.is_complete():
        raise UserError(f"{store.folder} is not complete: run the label stage first")
    labels, of_labels = read_pseudo_labels(store, seed), store.manifest("counts")
    copies = draw_share(choose(labels), labels.random, share)
    if not copies.any():
        raise UserError(f"no image of the selection is left at unlabeled_fraction={share:g}")
    end = 0
    for number, count in enumerate(of_labels["counts"]):
        start, end = end, end + count
        selection.write_shard(number, make_copies(store.read_shard(number)["id"], copies[start:end]))
    per_class = lambda weights: np.bincount(labels.label, weights, labels.num_classes).astype(int).tolist()
    digests = [file_sha256(selection.shard_path(number)) for number in range(len(of_labels["ranges"]))]
    selection.write_manifest(
        {
            "sha256": digests,
            "teacher": of_labels["teacher"],
            "config": made_by,
            "ranges": of_labels["ranges"],
            "class_names": of_labels["class_names"],
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


def check_given_selection(iteration: Iteration) -> None:
    """Raises UserError for a selection of another run that is not there, or that does not fit."""
    folder = iteration.selection_from
    if folder is None or str(folder).startswith(f"{iteration.paths.root}/"):  # an earlier iteration makes it
        return
    selection = open_given(folder, iteration.inputs.open("unlabeled"))
    labeled = iteration.inputs.open_labeled("labeled")
    check_classes(str(selection.folder), selection.manifest()["class_names"], labeled)


STAGE = Stage(run, applies=has_stored_labels, check=check)
