"""Stage 'select': which pseudo-labels are trained on, and how often. NumPy only; process 0 does it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from ns_jax.artifact.metadata import read_metadata
from ns_jax.data.sources.base import Source, identity_of
from ns_jax.errors import UserError
from ns_jax.evaluators.calibration import confidence_for_precision
from ns_jax.parallel.hosts import on_process_zero
from ns_jax.pseudo_labels.chunks import Chunk, Labels, check_shard, read_labels
from ns_jax.pseudo_labels.joined import Places
from ns_jax.pseudo_labels.progress import Progress, question
from ns_jax.pseudo_labels.reuse import GivenSelection, open_given, read_given
from ns_jax.pseudo_labels.rules import SELECTION_RULES, apply_rule
from ns_jax.pseudo_labels.selecting import write_copies, write_samples
from ns_jax.pseudo_labels.store import LabelStore, Selection
from ns_jax.pseudo_labels.survey import survey
from ns_jax.run.inputs import check_classes, check_same_classes
from ns_jax.run.iteration import Iteration, has_stored_labels
from ns_jax.run.settings import selection_settings
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
    given = read_given(iteration.selection_from, source, identity_of(source))
    class_names = read_metadata(iteration.teacher)["class_names"]
    check_same_classes(str(given.folder), given.class_names, f"the teacher {iteration.teacher}", class_names)
    return given


def run(iteration: Iteration) -> None:
    """Writes the copies of every pseudo-labeled image, and the manifest."""
    config, paths = iteration.config, iteration.paths
    if not Selection(paths.selection).is_whole():
        source = iteration.inputs.open("unlabeled")
        given = given_selection(iteration, source)
        on_process_zero(lambda: select(iteration, source, given))
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


def select(iteration: Iteration, source: Source, given: GivenSelection | None) -> None:
    """Chooses among an iteration's labels, in passes over their columns, and writes the selection.

    Args:
      iteration: whose labels.
      source: of the images.
      given: the selection that is kept; None: the config's rule chooses.

    Raises:
      UserError: the labels are not complete or damaged, or no image is chosen.
    """
    config, paths = iteration.config, iteration.paths
    store, selection = LabelStore(paths.labels), Selection(paths.selection)
    if not store.is_complete():
        raise UserError(f"{store.folder} is not complete: run the label stage first")
    of_labels = store.manifest("counts", "ranges", "class_names", "teacher")
    settings = selection_settings(config)
    if given is None:
        settings = dataclasses.replace(settings, min_confidence=threshold(iteration))
    rule = config.selection if given is None else f"as {given.folder}"
    identity, progress = identity_of(source), None
    if given is None and config.selection in SELECTION_RULES:  # a rule of one's own may have changed since
        asked = question(
            labels=of_labels, settings=dataclasses.asdict(settings), rule=rule, share=config.unlabeled_fraction,
            seed=config.seed,
        )  # fmt: skip
        progress = Progress(paths.selection / "progress.npz", asked)
    labels = read_labels(store, config.seed, source.ids, progress)
    seen = survey(labels, lambda chunk: check_chunk(store, chunk, of_labels))
    if given is None:
        choose = apply_rule(config.selection, labels, settings)
    else:
        places = Places(store, source.ids, identity)
        choose = lambda chunk: given.copies_of(np.concatenate([places.indices(*part) for part in chunk.shards]))
    written = write_copies(selection, store, labels, choose, config.unlabeled_fraction, progress)
    if not written.copies:
        require_choice(labels, choose, config, settings)
    write_samples(selection, seen, store, source.ids)
    selection.write_manifest(
        {
            "sha256": [digest.tobytes().hex() for digest in written.sha256],
            "teacher": of_labels["teacher"],
            "config": iteration.fingerprints[0],
            "ranges": of_labels["ranges"],
            "class_names": of_labels["class_names"],
            "source_identity": identity,
            "rule": rule,
            "pseudo_labels": sum(of_labels["counts"]),
            "kept": int(written.kept),
            "copies": int(written.copies),
            "per_class_before": seen.per_class.tolist(),
            "per_class_after": written.per_class.tolist(),
            "confidence_histogram": seen.histogram.tolist(),
            "sum_of_confidence": float(seen.confidence),
        }
    )
    if progress:
        progress.clear()


def require_choice(labels: Labels, choose: Callable[[Chunk], np.ndarray], config: ConfigDict, settings: Any) -> None:
    """Raises UserError that says why a selection is empty: its rule, or the share that was drawn of it."""
    if config.selection_from or any(labels.map(lambda chunk: bool(choose(chunk).any()))):
        raise UserError(f"no image of the selection is left at unlabeled_fraction={config.unlabeled_fraction:g}")
    raise UserError(
        f"no pseudo-label passes the rule {config.selection!r} with min_confidence={settings.min_confidence:g}: train "
        "a better teacher, or lower min_confidence"
    )


def check_chunk(store: LabelStore, chunk: Chunk, manifest: dict) -> None:
    """Looks through the shards of a chunk before they are used. Raises UserError for one that is damaged."""
    digests, num_classes = manifest.get("sha256"), len(manifest["class_names"])  # version 0.1 has no digests
    for shard, columns in chunk.shards:
        start, stop = manifest["ranges"][shard]
        check_shard(store, shard, columns, num_classes, stop - start, digests[shard] if digests else None)


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
