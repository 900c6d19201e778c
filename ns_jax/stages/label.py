"""Stage 'label': the un-noised teacher's probabilities of every unlabeled image, shard by shard."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from ns_jax.artifact.metadata import has_artifact, network_of, read_metadata
from ns_jax.artifact.weights import load_artifact
from ns_jax.data.examples import AllBut
from ns_jax.data.sources.base import Source, identity_of
from ns_jax.errors import UserError
from ns_jax.experiment.claims import remove_claims
from ns_jax.files import read_json_object, remove_leftovers, write_json
from ns_jax.inference.engine_predictor import EnginePredictor
from ns_jax.inference.engines import JAX
from ns_jax.inference.predictor import PredictionNoise, Predictor
from ns_jax.models.folding import folded
from ns_jax.parallel.hosts import on_process_zero
from ns_jax.parallel.mesh import check_divides, mesh_of_process
from ns_jax.planning.programs import label_programs
from ns_jax.pseudo_labels.reuse import GivenSelection, fingerprint, open_given
from ns_jax.pseudo_labels.store import MANIFEST, LabelStore, Writing, shard_ranges
from ns_jax.registry import is_import_path
from ns_jax.run.helping import wait_for
from ns_jax.run.inputs import Usable, check_classes
from ns_jax.run.iteration import Iteration, has_stored_labels
from ns_jax.run.settings import prediction_options, test_view, unlabeled_augmentation
from ns_jax.run.shard_work import CLAIMS
from ns_jax.run.sidecars import check_labels
from ns_jax.run.stages import Stage
from ns_jax.run.validation import folder_of_model, read_validated
from ns_jax.stages.label_shards import ByShard, label_shards
from ns_jax.stages.select import check_given_selection, given_selection

CLAIM = "claim.json"  # in the folder of labels: whose they are, from the first shard on


@dataclasses.dataclass(frozen=True)
class Labelling:
    """What there is to label for an iteration.

    Attributes:
      store: of the labels.
      source: the unlabeled images.
      usable: which of them can be used.
      indices: ascending, of those that are labeled.
      given: the selection that names them; None: all that can be used.
      ranges: [start, stop) of each shard.
      claim: whose the labels are.
      temperature: by which the teacher's logits are divided.
    """

    store: LabelStore
    source: Source
    usable: Usable
    indices: AllBut | np.ndarray
    given: GivenSelection | None
    ranges: list[tuple[int, int]]
    claim: dict
    temperature: float


def run(iteration: Iteration) -> None:
    """Labels the shards that are not labeled yet, and then writes the manifest.

    Raises:
      UserError: the labels in the folder are of another teacher, of another selection, or of other images.
    """
    labelling = prepare(iteration)
    if labelling is None:
        return
    label(iteration, labelling)
    complete(iteration, labelling)


def help_run(iteration: Iteration) -> bool:
    """Labels shards beside the run that holds the workdir, which completes them.

    Returns:
      Whether that run labels for the iteration, or has done so.

    Raises:
      UserError: see `run`.
    """
    folder = iteration.paths.labels
    if not wait_for([folder / CLAIM, folder / MANIFEST], iteration.config.timeouts.join_seconds):
        iteration.say("label", f"nothing to help with: the run in {iteration.paths.root} does not label for it yet")
        return False
    labelling = prepare(iteration)
    if labelling is not None:
        own = label(iteration, labelling)
        iteration.say("label", f"all {len(labelling.ranges)} files are written, {own} of them by this worker")
    return True


def prepare(iteration: Iteration) -> Labelling | None:
    """What there is to label; None where that was done before."""
    source, teacher = iteration.inputs.open("unlabeled"), read_metadata(iteration.teacher)
    ranges = shard_ranges(source.count, iteration.config.label_shard_size)
    writing = Writing(ranges, source.ids, not getattr(source, "identity", ""), iteration.config.label_top_k)
    store = LabelStore(iteration.paths.labels, writing)
    owner, temperature = {"teacher": teacher["fingerprint"]}, teacher_temperature(iteration)
    if temperature != 1:
        owner["temperature"] = temperature
    if iteration.selection_from is not None:
        owner["selection"] = fingerprint(open_given(iteration.selection_from, source))
    if store.is_complete():
        _check_owner(store, owner)
        if store.manifest()["ranges"] != [list(bounds) for bounds in ranges]:
            raise UserError(f"{store.folder} is not of the {source.count} images of {source.name}: delete it")
    if store.is_whole():
        iteration.require_own(str(store.folder), store.manifest(), "config", "delete it to label again")
        iteration.say("label", f"done before ({store.manifest()['count']} images)")
        return None
    usable, given = iteration.inputs.usable(source), given_selection(iteration, source)
    indices: AllBut | np.ndarray = usable.indices
    if given is not None:
        chosen = given.indices
        indices = chosen[~np.isin(chosen, usable.indices.missing)]
    on_process_zero(lambda: _check_config(iteration, store))
    claim = owner | {"config": iteration.fingerprints[0]} | {"ranges": [list(bounds) for bounds in ranges]}
    on_process_zero(lambda: _check_claim(store, claim))
    return Labelling(store, source, usable, indices, given, ranges, claim, temperature)


def label(iteration: Iteration, labelling: Labelling) -> int:
    """Writes the missing shards together with whoever else does; how many of them this process wrote."""
    return label_shards(
        labelling.store,
        labelling.source,
        labelling.indices,
        labelling.ranges,
        lambda: make_teacher(
            iteration, iteration.config.prediction_dtype, noise_of_teacher(iteration.config), of_process=True
        ),
        iteration.title("label"),
        labelling.temperature,
    )


def complete(iteration: Iteration, labelling: Labelling) -> None:
    """Looks through the shards, of which all are written, and writes the manifest."""
    store, ranges, indices, given = labelling.store, labelling.ranges, labelling.indices, labelling.given
    class_names = list(read_metadata(iteration.teacher)["class_names"])
    manifest = labelling.claim | {
        "source": labelling.source.name,
        "source_identity": identity_of(labelling.source),
        "dtype": "float16",
        "class_names": class_names,
        "skipped": labelling.usable.num_broken,
    }
    digests = check_labels(store, ranges, len(class_names))
    on_process_zero(lambda: _complete(store, ByShard(indices, ranges).sizes, manifest | {"sha256": digests}))
    chosen = f" (those of {given.folder})" if given else ""
    iteration.say(
        "label",
        f"{len(indices)} of {labelling.source.count} images labeled{chosen} in {len(ranges)} files, "
        f"{labelling.usable.num_broken} could not be read, {labelling.usable.describe_exclusion()}"
        + (f", calibrated at temperature {labelling.temperature:.2f}" if labelling.temperature != 1 else ""),
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


def make_teacher(
    iteration: Iteration, dtype: str | None = None, noise: PredictionNoise | None = None, of_process: bool = False
) -> Predictor:
    """The teacher of an iteration.

    Args:
      iteration: whose.
      dtype: of the computation; None: that in which it was trained, where its metadata say it.
      noise: of the ablation's noised teacher.
      of_process: on the devices of this process alone, with its part of a batch; else on all devices.

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
    if of_process and jax.process_count() > 1:
        mesh, batch_size = mesh_of_process(), batch_size // jax.process_count()
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


def _complete(store: LabelStore, sizes: np.ndarray, manifest: dict) -> None:
    """Writes the manifest if every shard holds as many pseudo-labels as it has images, int64 [shards]."""
    counts = [len(store.read_shard(shard)) for shard in range(len(sizes))]
    for shard, (count, size) in enumerate(zip(counts, sizes.tolist(), strict=True)):
        if count != size:
            raise UserError(
                f"{store.shard_path(shard)} holds {count} pseudo-labels for {size} images; delete it and run "
                "the stage again"
            )
    store.write_manifest(manifest | {"counts": counts, "count": sum(counts)} | store.describe_top_k(counts))
    remove_claims(store.folder / CLAIMS)
    remove_leftovers(store.folder)


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


STAGE = Stage(run, applies=has_stored_labels, check=check, programs=label_programs, help=help_run)
