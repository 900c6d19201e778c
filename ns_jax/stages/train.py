"""Stage 'train': a teacher on labeled images, or a noised student on both."""

import collections
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging
from clu import parameter_overview

from ns_jax.artifact.metadata import has_artifact, model_metadata, read_metadata
from ns_jax.artifact.weights import save_artifact
from ns_jax.checkpoint import Checkpoints
from ns_jax.data.ops.check import check_augmentation
from ns_jax.data.pipeline import train_batches
from ns_jax.data.sampling import class_prior, describe_draws, labels_of, training_draws
from ns_jax.data.sources.base import Source
from ns_jax.errors import Stopped, UserError
from ns_jax.experiment.fingerprint import made_by
from ns_jax.inference.model import read
from ns_jax.inference.predictor import Predictor
from ns_jax.interop.foreign import check_artifact
from ns_jax.models.base import build_network
from ns_jax.models.registry import get_architecture
from ns_jax.parallel.hosts import barrier, is_process_zero
from ns_jax.parallel.mesh import check_divides, host_rows, to_global, whole_on_host
from ns_jax.parallel.preemption import must_stop, sigterm_held_back
from ns_jax.planning.programs import train_programs
from ns_jax.pseudo_labels.draws import draw_by_id, draw_share
from ns_jax.pseudo_labels.store import LabelStore
from ns_jax.pseudo_labels.table import TrainingTable, join
from ns_jax.report.progress import StageProgress
from ns_jax.report.writer import ScalarWriter, StepProfile
from ns_jax.run.inputs import check_classes
from ns_jax.run.iteration import Iteration
from ns_jax.run.memory import compile_step
from ns_jax.run.save_times import SaveTimes
from ns_jax.run.settings import (
    augmentation,
    bn_groups,
    build_options,
    online_augmentation,
    test_view,
    train_view,
    unlabeled_augmentation,
    unlabeled_batch_size,
)
from ns_jax.run.sidecars import check_unchanged
from ns_jax.run.stages import Stage
from ns_jax.run.training import Training, make_training
from ns_jax.stages.label import check_teacher, make_teacher
from ns_jax.stages.select import check_given_selection, given_selection, require_current
from ns_jax.training.state import TrainState, create_state
from ns_jax.training.warm_start import warm_start


class Examples(NamedTuple):
    """What a training draws from: a source, and int64 indices into it."""

    source: Source
    indices: np.ndarray


class Lessons(NamedTuple):
    """How unlabeled images are taught: by stored probabilities, or by an online teacher.

    Attributes:
      examples: the images; one with k copies occurs k times.
      table: the selected pseudo-labels of `examples`; None with an online teacher.
      teacher: an online one, or None.
    """

    examples: Examples
    table: TrainingTable | None
    teacher: Predictor | None


def run(iteration: Iteration) -> None:
    """Trains from the newest checkpoint, or from the start, to the end of the schedule, and writes the model.

    Raises:
      UserError: the model or the checkpoints in the folder are of another teacher, or the data do not fit.
    """
    paths, config = iteration.paths, iteration.config
    teacher = teacher_fingerprint(iteration)
    if has_artifact(paths.model):
        there = read_metadata(paths.model)
        if there["teacher"] != teacher:
            raise UserError(f"{paths.model} had another teacher: delete it and {paths.checkpoints} to train again")
        advice = f"delete it and {paths.checkpoints} to train again"
        iteration.require_own(str(paths.model), there, "training", advice)
        iteration.say("train", "done before")
        return
    source = iteration.inputs.open_labeled("labeled")
    labeled = Examples(source, iteration.inputs.trained_on(source))
    drawn, prior = labeled_draws(iteration, labeled)
    lessons = open_lessons(iteration, source) if iteration.teacher is not None else None
    online = lessons.teacher if lessons and not config.online_ema else None
    training = make_training(
        config, source.num_classes, len(labeled.indices), iteration.mesh, online.network if online else None, prior
    )
    inputs = training.network.inputs
    view = test_view(inputs, config.test_resolution, config.crop_padding)
    metadata = model_metadata(
        training.network.architecture,
        source.num_classes,
        class_names=list(source.class_names),
        training=iteration.fingerprints[0],
        teacher=teacher,
        dtype=config.dtype,
        **({"resolution": view.size, "crop_padding": view.crop_padding} if view else {}),
        **({"exif_orientation": True} if config.data.exif_orientation else {}),
    )
    checkpoints = Checkpoints(
        paths.checkpoints,
        config.keep_checkpoints,
        owner=teacher or "",
        metadata=metadata,
        made_by=lambda model: made_by(model, "training", iteration.fingerprints),
    )
    state = checkpoints.restore_newest(training.like) or first_state(iteration, training, list(source.class_names))
    start_step = int(state.step)
    if start_step:
        iteration.say("train", f"resuming at step {start_step}")
    batches = training_batches(config, inputs, drawn, lessons, start_step, training.num_steps)
    constants = (online.variables,) if online else ()
    state = training_loop(iteration, state, training, constants, checkpoints, batches)
    checkpoints.close()
    write_model(iteration, training, state, metadata)


def labeled_draws(iteration: Iteration, labeled: Examples) -> tuple[Examples, tuple[float, ...]]:
    """Labeled images, each as often as it is drawn, and the share of each class, () where nothing asks for it."""
    config, source = iteration.config, labeled.source
    indices = training_draws(source, labeled.indices, config.class_sampling)
    is_natural = indices is labeled.indices
    if is_natural and not config.logit_adjustment:
        return labeled, ()
    labels = labels_of(source, indices)
    if not is_natural:
        iteration.say("train", describe_draws(len(labeled.indices), source.class_names, labels))
    return Examples(source, indices), class_prior(labels, source.num_classes)


def teacher_fingerprint(iteration: Iteration) -> str | None:
    """Of the teacher whose labels are trained on; None for supervised training."""
    if iteration.has_stored_labels:
        return require_current(iteration).manifest()["teacher"]
    return read_metadata(iteration.teacher)["fingerprint"] if iteration.teacher is not None else None


def open_lessons(iteration: Iteration, labeled: Source) -> Lessons:
    """Joins the stored pseudo-labels to their images, or opens the online teacher."""
    unlabeled = iteration.inputs.open("unlabeled")
    if iteration.has_stored_labels:
        store, selection = LabelStore(iteration.paths.labels), require_current(iteration)
        check_classes("the teacher", store.manifest()["class_names"], labeled)
        for sidecar in (store, selection):
            check_unchanged(sidecar)
        table = join(store, selection, unlabeled.ids)
        return Lessons(Examples(unlabeled, table.source_index), table, None)
    predictor = make_teacher(iteration)
    check_classes("the teacher", predictor.class_names, labeled)
    return Lessons(Examples(unlabeled, online_examples(iteration, unlabeled)), None, predictor)


def online_examples(iteration: Iteration, unlabeled: Source) -> np.ndarray:
    """Indices of the images that an online teacher labels, int64 [M]: all of them, or the copies of a selection."""
    config, usable, given = iteration.config, iteration.inputs.usable(unlabeled), given_selection(iteration, unlabeled)
    iteration.say("train", f"{usable.num_broken} unlabeled images could not be read, {usable.describe_exclusion()}")
    if given is None:
        return usable.indices
    random = draw_by_id(unlabeled.ids(usable.indices), config.seed)
    copies = draw_share(given.copies_of(usable.indices), random, config.unlabeled_fraction)
    return np.repeat(usable.indices, copies)


def first_state(iteration: Iteration, training: Training, class_names: list[str]) -> TrainState:
    """The state from which training starts: random weights, or those of the config's `init_from`.

    Raises:
      UserError: there is no such model, or it is of another variant than the config's.
    """
    config = iteration.config
    state = create_state(training.network, training.optimizer, config.seed, config.resolution, training.like)
    if not config.init_from:
        return state
    where = iteration.teacher if config.init_from == "teacher" else config.init_from
    artifact = read(where, config.variant)
    check_artifact(artifact)
    keep_head = list(artifact.metadata["class_names"]) == class_names
    iteration.say("train", f"starts from {where}" + ("" if keep_head else ", with a new classifier for other classes"))
    return warm_start(training.network, state, artifact.variables, keep_head)


def training_batches(
    config, inputs, labeled: Examples, lessons: Lessons | None, start_step: int, num_steps: int
) -> Iterator[dict]:
    """This host's training batches as NumPy trees, see `make_train_step`."""
    view = train_view(inputs, config.resolution, config.crop_padding)
    common = {"view": view, "seed": config.seed, "start_step": start_step, "num_steps": num_steps}
    streams = []
    if config.train_on == "both":
        size = config.labeled_batch_size
        rows, views = host_rows(size), augmentation(config)
        batches = train_batches(*labeled, augmentation=views, stream="labeled", batch_size=size, rows=rows, **common)
        streams.append(labeled_part(batches))
    if lessons is not None:
        size = unlabeled_batch_size(config)
        rows, views = host_rows(size), unlabeled_augmentation(config)
        clean_view = lessons.teacher.view if lessons.teacher and not config.online_ema else view
        with_clean = lessons.teacher is not None
        batches = train_batches(
            *lessons.examples, augmentation=views, stream="unlabeled", batch_size=size, rows=rows,
            clean_view=clean_view, with_clean=with_clean, clean_augmentation=online_augmentation(config), **common,
        )  # fmt: skip
        streams.append(unlabeled_part(batches, lessons.table))
    for parts in zip(*streams, strict=True):
        batch = {}
        for part in parts:
            batch |= part
        yield batch


def labeled_part(batches: Iterator[dict]) -> Iterator[dict]:
    """Yields what the step takes of labeled images."""
    for batch in batches:
        yield {"image": batch["image"], "label": batch["label"]}


def unlabeled_part(batches: Iterator[dict], table: TrainingTable | None) -> Iterator[dict]:
    """Yields what the step takes of unlabeled images: with stored probabilities, or their clean view."""
    for batch in batches:
        if table is None:
            yield {"unlabeled_image": batch["image"], "clean_image": batch["clean"]}
        else:
            yield {"unlabeled_image": batch["image"], "probs": table.probs(batch["example"])}


MAX_IN_FLIGHT = 4  # steps that are handed to the devices before the oldest of them is done


class LoopMetrics:
    """Means of the metrics since the last log, speed, and the share of time that devices waited for input."""

    def __init__(self):
        self.newest: dict[str, Any] | None = None
        self._in_flight: collections.deque[dict[str, Any]] = collections.deque()
        self._restart()

    def _restart(self) -> None:
        self.since, self.waited, self.steps = time.monotonic(), 0.0, []

    def next_batch(self, batches: Iterator[dict]) -> dict:
        """The next batch, its waiting time counted."""
        asked_at = time.monotonic()
        batch = next(batches)
        # Steps run in the background: the devices waited only if they are through with the last one.
        if self.newest is None or self.newest["loss"].is_ready():
            self.waited += time.monotonic() - asked_at
        return batch

    def add(self, metrics: dict[str, jax.Array]) -> None:
        """Takes the metrics of a step that was handed to the devices, and waits until they are not far behind.

        Each step that waits holds its batch in memory.
        """
        self.newest = metrics
        self.steps.append(metrics)
        self._in_flight.append(metrics)
        if len(self._in_flight) > MAX_IN_FLIGHT:
            self._in_flight.popleft()["loss"].block_until_ready()

    def num_unfinished(self) -> int:
        """Steps that the devices have not finished yet."""
        while self._in_flight and self._in_flight[0]["loss"].is_ready():
            self._in_flight.popleft()
        return len(self._in_flight)

    def take_means(self, last_step: int) -> dict[str, float]:
        """The means since the last call. Raises UserError if the loss is not finite."""
        steps = jax.device_get(self.steps)
        means = {key: float(np.mean([metrics[key] for metrics in steps])) for key in steps[0]}
        if not np.isfinite(means["loss"]):
            raise UserError(
                f"the loss is {means['loss']} between steps {last_step - len(steps)} and {last_step}: lower "
                "base_learning_rate or lengthen warmup_epochs; delete the checkpoints to start anew"
            )
        seconds = time.monotonic() - self.since
        means["steps_per_second"] = len(steps) / seconds
        means["input_wait_fraction"] = self.waited / seconds
        self._restart()
        return means


def training_loop(
    iteration: Iteration,
    state: TrainState,
    training: Training,
    constants: tuple,
    checkpoints: Checkpoints,
    batches: Iterator[dict],
) -> TrainState:
    """Runs the steps that `state` has not seen yet.

    Args:
      iteration: that is trained.
      state: to start from.
      training: its step and the number of steps.
      constants: what the step takes beside state and batch: the variables of an online teacher.
      checkpoints: where to save.
      batches: of this host.

    Raises:
      UserError: the loss is not finite, or there is too little memory for a step.
      Stopped: a host had a SIGTERM; a checkpoint is written.
    """
    config, title, num_steps = iteration.config, iteration.title("train"), training.num_steps
    start_step = step = int(state.step)
    writer, metrics, stopping = ScalarWriter(iteration.paths.logs), LoopMetrics(), False
    trace = StepProfile(iteration.paths.logs, config.profile_steps, start_step, num_steps)
    shown = StageProgress(title, num_steps, start_step, is_process_zero())
    due = SaveTimes(config.checkpoint_every_steps, config.checkpoint_every_minutes * 60, start_step)
    with sigterm_held_back(), shown as progress, trace as profile:
        while step < num_steps and not stopping:
            profile(step)
            batch = to_global(iteration.mesh, metrics.next_batch(batches))
            if step == start_step:
                train_step = compile_step(training.step, state, batch, *constants)
            state, step_metrics = train_step(state, batch, *constants)
            step += 1
            metrics.add(step_metrics)
            progress.update(step - metrics.num_unfinished())
            if step % config.log_every_steps == 0 or step == num_steps:
                means = metrics.take_means(step)
                writer.write_scalars(step, means)
                progress.update(step, describe(means))
            if step < num_steps:
                stopping = must_stop()
                if due(step) or stopping:
                    writer.flush()
                    checkpoints.save(state, step)
                    due.saved()
        writer.close()
        checkpoints.wait()
    if stopping:
        raise Stopped(f"{title}: stopped by SIGTERM at step {step}; start again to continue")
    return state


def describe(means: dict[str, float]) -> str:
    """Loss and accuracy for the progress bar."""
    shown = "accuracy" if "accuracy" in means else "teacher_agreement"
    return f"loss {means['loss']:.3f}, {shown.replace('_', ' ')} {100 * means[shown]:.1f} %"


def write_model(iteration: Iteration, training: Training, state: TrainState, metadata: dict) -> None:
    """Writes the EMA as the model of this iteration, and the list of its parameters."""
    variables = whole_on_host(iteration.mesh, {"params": state.ema_params, "batch_stats": state.ema_batch_stats})
    if is_process_zero():
        single = training.network.architecture.from_module(variables)
        save_artifact(iteration.paths.model, single, metadata | {"steps": int(state.step)})
        overview = parameter_overview.get_parameter_overview(single["params"], include_stats=False)
        (iteration.paths.model / "parameters.txt").write_text(overview + "\n")
    barrier("train: model written")
    logging.info("model of %s: %s", iteration.title("train"), read_metadata(iteration.paths.model)["fingerprint"])


def check(iteration: Iteration) -> None:
    """Raises UserError if a batch does not divide, an operation does not exist, or data do not fit the teacher."""
    config, mesh = iteration.config, iteration.mesh
    parts = config.parallel.accumulation_steps
    check_divides("labeled_batch_size", config.labeled_batch_size, mesh, parts)
    bn_groups(config, mesh)
    inputs = build_network(get_architecture(config.variant), 2, build_options(config)).inputs
    view = train_view(inputs, config.resolution, config.crop_padding)
    for operations in (
        augmentation(config),
        unlabeled_augmentation(config),
        augmentation(config, config.online_augment),
    ):
        if view is not None:
            check_augmentation(operations, view)
        else:
            check_augmentation(operations, inputs.shape, inputs.dtype)
    iteration.inputs.check_training()
    if iteration.teacher is not None:
        check_divides("the unlabeled batch", unlabeled_batch_size(config), mesh, parts)
        iteration.inputs.open("unlabeled")
        check_teacher(iteration)
        if not iteration.has_stored_labels:  # else the label stage looks
            check_given_selection(iteration)


STAGE = Stage(run, check=check, programs=train_programs)
