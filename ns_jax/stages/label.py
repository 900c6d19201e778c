"""Stage 'label': the un-noised teacher's probabilities of every unlabeled image, shard by shard."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ns_jax.artifact.metadata import has_artifact, network_of, read_metadata
from ns_jax.artifact.weights import load_artifact
from ns_jax.data.sources.base import Source
from ns_jax.errors import UserError
from ns_jax.evaluators.metrics import apply_temperature
from ns_jax.files import read_json_object, write_json
from ns_jax.inference.engine_predictor import EnginePredictor
from ns_jax.inference.engines import JAX
from ns_jax.inference.predictor import PredictionNoise, Predictor
from ns_jax.models.folding import folded
from ns_jax.parallel.hosts import barrier, is_process_zero, on_process_zero
from ns_jax.parallel.mesh import check_divides
from ns_jax.planning.programs import label_programs
from ns_jax.pseudo_labels.reuse import fingerprint, open_given
from ns_jax.pseudo_labels.store import LabelStore, make_records, shard_ranges
from ns_jax.registry import is_import_path
from ns_jax.report.progress import StageProgress
from ns_jax.run.inputs import check_classes
from ns_jax.run.iteration import Iteration, has_stored_labels
from ns_jax.run.settings import prediction_options, test_view, unlabeled_augmentation
from ns_jax.run.sidecars import check_labels
from ns_jax.run.stages import Stage
from ns_jax.run.validation import folder_of_model, read_validated
from ns_jax.stages.select import check_given_selection, given_selection

CLAIM = "claim.json"  # in the folder of labels: whose they are, from the first shard on


def run(iteration: Iteration) -> None:
    """Labels the shards that are not labeled yet, and then writes the manifest.

    Raises:
      UserError: the labels in the folder are of another teacher, of another selection, or of other images.
    """
    store, teacher = LabelStore(iteration.paths.labels), read_metadata(iteration.teacher)
    source = iteration.inputs.open("unlabeled")
    owner, temperature = {"teacher": teacher["fingerprint"]}, teacher_temperature(iteration)
    if temperature != 1:
        owner["temperature"] = temperature
    if iteration.selection_from is not None:
        owner["selection"] = fingerprint(open_given(iteration.selection_from, source))
    ranges = shard_ranges(source.count, iteration.config.label_shard_size)
    if store.is_complete():
        _check_owner(store, owner)
        if store.manifest()["ranges"] != [list(bounds) for bounds in ranges]:
            raise UserError(f"{store.folder} is not of the {source.count} images of {source.name}: delete it")
    if store.is_whole():
        iteration.require_own(str(store.folder), store.manifest(), "config", "delete it to label again")
        iteration.say("label", f"done before ({store.manifest()['count']} images)")
        return
    usable, given = iteration.inputs.usable(source), given_selection(iteration, source)
    indices = usable.indices if given is None else np.intersect1d(usable.indices, given.indices, assume_unique=True)
    on_process_zero(lambda: _check_config(iteration, store))
    claim = owner | {"config": iteration.fingerprints[0]} | {"ranges": [list(bounds) for bounds in ranges]}
    on_process_zero(lambda: _check_claim(store, claim))
    label_shards(
        store,
        source,
        indices,
        ranges,
        lambda: make_teacher(iteration, iteration.config.prediction_dtype, noise_of_teacher(iteration.config)),
        iteration.title("label"),
        temperature,
    )
    manifest = claim | {
        "source": source.name,
        "dtype": "float16",
        "class_names": list(teacher["class_names"]),
        "skipped": usable.num_broken,
    }
    digests = check_labels(store, len(ranges), len(teacher["class_names"]))
    on_process_zero(lambda: _complete(store, split_by_shard(indices, ranges), manifest | {"sha256": digests}))
    chosen = f" (those of {given.folder})" if given else ""
    iteration.say(
        "label",
        f"{len(indices)} of {source.count} images labeled{chosen} in {len(ranges)} files, "
        f"{usable.num_broken} could not be read, {usable.describe_exclusion()}"
        + (f", calibrated at temperature {temperature:.2f}" if temperature != 1 else ""),
    )


def teacher_temperature(iteration: Iteration) -> float:
    """By what the teacher's logits are divided: what its validation has found where the config calibrates, else 1.

    Raises:
      UserError: the teacher has not been validated.
    """
    if not iteration.config.calibrate:
        return 1.0
    validated = read_validated(folder_of_model(iteration.teacher))
    if validated is None:
        raise UserError(
            f"calibrate: no evaluations/validation.json beside the teacher {iteration.teacher}: let its run "
            "validate, or set calibrate=False"
        )
    return validated.temperature


def make_teacher(iteration: Iteration, dtype: str | None = None, noise: PredictionNoise | None = None) -> Predictor:
    """The teacher of an iteration.

    Args:
      iteration: whose.
      dtype: of the computation; None: that in which it was trained, where its metadata say it.
      noise: of the ablation's noised teacher.

    Raises:
      UserError: there is none, or it would run code that neither the config names nor this run has run before.
    """
    config, artifact = iteration.config, load_artifact(iteration.teacher)
    variant = artifact.metadata["variant"]
    is_of_this_run = str(iteration.teacher).startswith(f"{iteration.paths.root}/")
    if is_import_path(variant) and variant != config.variant and not is_of_this_run:
        raise UserError(
            f"the teacher {iteration.teacher} is the model {variant}, and such code runs only where a config names it: "
            "train it as an iteration of this chain, or take a student of the same variant"
        )
    options = prediction_options(config, variant, dtype or artifact.metadata.get("dtype"))
    network = network_of(artifact.metadata, options)
    view, mesh, batch_size = test_view(network.inputs), iteration.mesh, config.eval_batch_size
    if options.dtype == jnp.bfloat16 and jax.default_backend() == "cpu" and config.inference_engine == JAX:
        iteration.say("label", "computes in bfloat16, which is slower on CPU: prediction_dtype='float32' is faster")
    if config.inference_engine != JAX:
        return EnginePredictor(artifact, network, view, mesh, batch_size, config.inference_engine)
    if config.fold_batch_norm:
        network, variables = folded(network, artifact.variables)
        artifact = dataclasses.replace(artifact, variables=variables)
    return Predictor(artifact, network, view, mesh, batch_size, noise)


def noise_of_teacher(config) -> PredictionNoise | None:
    """The noise of the ablation's noised teacher, else None."""
    return PredictionNoise(unlabeled_augmentation(config), config.seed) if config.noise.teacher else None


def split_by_shard(readable: np.ndarray, ranges: list[tuple[int, int]]) -> list[np.ndarray]:
    """The readable indices, ascending, of each shard's range."""
    return [readable[slice(*np.searchsorted(readable, bounds))] for bounds in ranges]


def label_shards(
    store: LabelStore,
    source: Source,
    readable: np.ndarray,
    ranges: list[tuple[int, int]],
    make_predictor: Callable[[], Predictor],
    title: str,
    temperature: float = 1.0,
) -> None:
    """Writes the shards that `store` does not hold yet. All hosts call it together.

    Args:
      store: of the labels.
      source: the unlabeled images.
      readable: int64, ascending, indices of those that decode.
      ranges: [start, stop) of each shard.
      make_predictor: makes the teacher, once it is known that something is missing.
      title: for the progress bar.
      temperature: by which the teacher's logits are divided.
    """
    in_shard = split_by_shard(readable, ranges)
    missing = [shard for shard in range(len(ranges)) if not store.has_shard(shard)]
    barrier("label: all hosts have seen what is missing")
    if not missing:
        return
    predictor, hosts, process = make_predictor(), jax.process_count(), jax.process_index()
    labeled = len(readable) - sum(len(in_shard[shard]) for shard in missing)
    with StageProgress(title, len(readable), labeled, is_process_zero(), "images") as progress:
        for first in range(0, len(missing), hosts):
            shards = missing[first : first + hosts]  # one a host; all hosts run as many batches
            num_batches = max(predictor.num_batches(len(in_shard[shard])) for shard in shards)
            if process < len(shards):
                shard = shards[process]
                probs = _predict_all(predictor, source, in_shard[shard], num_batches, shard)
                if temperature != 1:
                    probs = apply_temperature(probs, temperature)
                store.write_shard(shard, make_records(source.ids(in_shard[shard]), probs))
            else:
                for _ in predictor(source, readable[:0], num_batches):
                    pass
            labeled += sum(len(in_shard[shard]) for shard in shards)
            progress.update(labeled, "labeling")
    barrier("label: all shards are written")


def _predict_all(predictor: Predictor, source: Source, indices: np.ndarray, num_batches: int, shard: int) -> np.ndarray:
    """Probabilities float32 [len(indices), classes], in the order of `indices`."""
    batches = list(predictor(source, indices, num_batches))
    seen = np.concatenate([index for _, _, index in batches])
    if not np.array_equal(seen, indices):
        raise RuntimeError(f"shard {shard}: {len(seen)} of {len(indices)} images came back")
    return np.concatenate([probs for probs, _, _ in batches])


def _complete(store: LabelStore, in_shard: list, manifest: dict) -> None:
    """Writes the manifest if every shard holds as many pseudo-labels as it has images."""
    counts = [len(store.read_shard(shard)) for shard in range(len(in_shard))]
    for shard, (count, indices) in enumerate(zip(counts, in_shard, strict=True)):
        if count != len(indices):
            raise UserError(
                f"{store.shard_path(shard)} holds {count} pseudo-labels for {len(indices)} images; delete it and run "
                "the stage again"
            )
    store.write_manifest(manifest | {"counts": counts, "count": sum(counts)})


def _check_owner(store: LabelStore, owner: dict) -> None:
    """Complete labels count only if they are of the same teacher, and of the images of the same selection."""
    manifest = store.manifest("teacher", "ranges", "count", "class_names")
    for key, what in (
        ("teacher", "labeled by another teacher"),
        ("selection", "labeled for another selection"),
        ("temperature", "calibrated at another temperature"),
    ):
        if manifest.get(key) != owner.get(key):
            raise UserError(f"{store.folder} was {what} than this run has: delete it to label again")


def _check_config(iteration: Iteration, store: LabelStore) -> None:
    """Shards of an interrupted run count only if the same config made them."""
    path = store.folder / CLAIM
    if path.exists():
        iteration.require_own(str(store.folder), read_json_object(path), "config", "delete it to label again")


def _check_claim(store: LabelStore, claim: dict) -> None:
    """Shards of an interrupted run count only if the same teacher wrote them."""
    path = store.folder / CLAIM
    if not path.exists():
        write_json(path, claim)
        return
    before = read_json_object(path)
    if before | {"config": claim["config"]} != claim:
        raise UserError(
            f"{store.folder} was begun with another teacher, selection or other images: delete it to label again"
        )


def check(iteration: Iteration) -> None:
    """Raises UserError if a batch does not divide, or the unlabeled images or the given selection cannot be opened."""
    check_divides("eval_batch_size", iteration.config.eval_batch_size, iteration.mesh)
    iteration.inputs.open("unlabeled")
    check_teacher(iteration)
    check_given_selection(iteration)


def check_teacher(iteration: Iteration) -> None:
    """Raises UserError if a teacher that is there already has other classes than the labeled images."""
    if has_artifact(iteration.teacher) and "train" in iteration.config.stages:
        labeled = iteration.inputs.open_labeled("labeled")
        check_classes(f"the teacher {iteration.teacher}", read_metadata(iteration.teacher)["class_names"], labeled)


STAGE = Stage(run, applies=has_stored_labels, check=check, programs=label_programs)
