"""Stage 'train': a teacher on labeled images, or a noised student on both."""

import functools
import operator
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging

from ns_jax.artifact.weights import has_artifact, load_artifact, model_card, save_artifact
from ns_jax.checkpoint import Checkpoints
from ns_jax.data.pipeline import train_batches
from ns_jax.errors import Stopped, UserError
from ns_jax.experiment.config import without_augmentation
from ns_jax.inference.predictor import Predictor
from ns_jax.models.efficientnet.stacking import unstack_blocks
from ns_jax.models.variants import get_variant
from ns_jax.parallel.hosts import barrier, is_lead
from ns_jax.parallel.mesh import host_rows, to_global, whole_on_host
from ns_jax.parallel.preemption import must_stop, sigterm_held_back
from ns_jax.pseudo_labels.store import join
from ns_jax.report.progress import StageProgress
from ns_jax.report.writer import create_writer
from ns_jax.run.iteration import Iteration, build_model, check_classes
from ns_jax.stages.label import label_store
from ns_jax.stages.select import require_current, selection_of
from ns_jax.training.optimizer import make_optimizer
from ns_jax.training.schedule import learning_rate_schedule, num_train_steps
from ns_jax.training.state import TrainState, abstract_state, create_state
from ns_jax.training.step import make_train_step
from ns_jax.training.warm_start import warm_start


def _batches(iteration: Iteration, labeled, examples, table, online: Predictor | None, start_step: int, num_steps: int):
    """This host's training batches as NumPy trees, see `make_train_step`."""
    config = iteration.config
    common = {"view": iteration.train_view, "start_step": start_step, "num_steps": num_steps}
    size, streams = config.labeled_batch_size, []
    if config.train_on == "both":
        first = train_batches(
            labeled, examples, config=config, stream="labeled", batch_size=size, rows=host_rows(size), **common
        )
        streams.append({"image": one["image"], "label": one["label"]} for one in first)
    if iteration.teacher is not None:
        size, source = unlabeled_batch_size(config), iteration.open("unlabeled")
        chosen, clean_view = (iteration.readable(source), online.view) if online else (table.source_index, None)
        view_of = config if config.noise.augment_unlabeled else without_augmentation(config)
        second = train_batches(
            source,
            chosen,
            config=view_of,
            stream="unlabeled",
            batch_size=size,
            rows=host_rows(size),
            clean_view=clean_view,
            **common,
        )
        taught = (
            (lambda two: {"clean_image": two["clean"]})
            if online
            else (lambda two: {"probs": table.probs(two["example"])})
        )
        streams.append({"unlabeled_image": two["image"], **taught(two)} for two in second)
    for parts in zip(*streams, strict=True):
        yield functools.reduce(operator.or_, parts)


def unlabeled_batch_size(config) -> int:
    """Unlabeled images per step, over all devices."""
    return round(config.labeled_batch_size * config.labeled_sample_prob * config.unlabeled_ratio)


def bn_groups(config, mesh) -> int:
    group = config.bn_group_size or mesh.size
    if mesh.size % group:
        raise UserError(f"bn_group_size={group} does not divide the {mesh.size} devices")
    return mesh.size // group


class Training(NamedTuple):
    """A model, what trains it, and its state's shapes and shardings."""

    model: Any
    optimizer: Any
    like: TrainState
    step: Callable


def make_training(config, num_classes: int, num_labeled: int, mesh, teacher=None) -> Training:
    """The training that a config describes; nothing of it is on a device yet. `teacher`: of an online one."""
    variant = get_variant(config.variant)
    schedule = learning_rate_schedule(config, num_labeled)
    optimizer = make_optimizer(config, schedule)
    model = build_model(variant, num_classes, config, bn_groups(config, mesh))
    like = abstract_state(model, optimizer, config.resolution or variant.resolution, mesh)
    return Training(model, optimizer, like, make_train_step(config, model, optimizer, schedule, like, teacher))


def run(iteration: Iteration) -> None:
    """Trains from the newest checkpoint, or from the start, to the end of the schedule."""
    config, mesh = iteration.config, iteration.mesh
    teacher = None
    if iteration.has_stored_labels:
        teacher = require_current(iteration).manifest()["teacher"]
    elif iteration.teacher is not None:
        teacher = load_artifact(iteration.teacher).fingerprint
    if has_artifact(iteration.model_dir):
        if load_artifact(iteration.model_dir).card["teacher"] != teacher:
            raise UserError(
                f"{iteration.model_dir} had another teacher: delete it and {iteration.workdir / 'checkpoints'}"
                " to train again"
            )
        iteration.say("train", "done before")
        return
    labeled = iteration.open_labeled("labeled")
    examples = iteration.readable(labeled)
    table = online = None
    if iteration.has_stored_labels:
        check_classes("the teacher", label_store(iteration).manifest()["class_names"], labeled)
        table = join(label_store(iteration), selection_of(iteration), iteration.open("unlabeled").ids)
    elif iteration.teacher is not None:
        artifact = load_artifact(iteration.teacher)
        check_classes("the teacher", artifact.card["class_names"], labeled)
        online = Predictor(iteration, artifact)

    num_steps = num_train_steps(config, len(examples))
    training = make_training(config, labeled.num_classes, len(examples), mesh, online and online.model)
    model, step = training.model, training.step
    state = create_state(model, training.optimizer, config.seed, iteration.train_view.size, mesh)
    train_step = (lambda state, batch: step(state, batch, online.variables)) if online else step
    card = model_card(
        iteration.variant,
        labeled.num_classes,
        class_names=list(labeled.class_names),
        resolution=config.test_resolution or iteration.variant.test_resolution,
        training=iteration.fingerprint,
        teacher=teacher,
    )
    checkpoints = Checkpoints(iteration.workdir / "checkpoints", config.keep_checkpoints, of=teacher or "", model=card)
    state = checkpoints.restore_newest(state) or warm_start(iteration, model, state, list(labeled.class_names))
    start_step = int(state.step)
    if start_step:
        iteration.say("train", f"resuming at step {start_step}")
    state = _loop(
        iteration,
        state,
        train_step,
        checkpoints,
        num_steps,
        _batches(iteration, labeled, examples, table, online, start_step, num_steps),
    )
    checkpoints.close()
    _hand_over(iteration, state, card)


def _loop(iteration, state: TrainState, train_step, checkpoints, num_steps: int, batches) -> TrainState:
    config, start_step = iteration.config, int(state.step)
    writer = create_writer(iteration.workdir / "logs")
    logged_at, waited, window, metrics, stopping = time.monotonic(), 0.0, [], None, False
    with sigterm_held_back(), StageProgress(iteration.title("train"), num_steps, start_step, is_lead()) as progress:
        for step in range(start_step + 1, num_steps + 1):
            asked_at = time.monotonic()
            batch = next(batches)
            # Steps run in the background: the devices waited only if they are through with the last one.
            if metrics is None or metrics["loss"].is_ready():
                waited += time.monotonic() - asked_at
            state, metrics = train_step(state, to_global(iteration.mesh, batch))
            window.append(metrics)
            progress.update(step)
            if step % config.log_every_steps == 0 or step == num_steps:
                means = {key: float(np.mean([m[key] for m in jax.device_get(window)])) for key in metrics}
                if not np.isfinite(means["loss"]):
                    raise UserError(
                        f"the loss is {means['loss']} between steps {step - len(window)} and {step}: lower "
                        "base_learning_rate or lengthen warmup_epochs; delete the checkpoints to start "
                        "anew"
                    )
                now = time.monotonic()
                means["steps_per_second"] = len(window) / (now - logged_at)
                means["input_wait_fraction"] = waited / (now - logged_at)
                writer.write_scalars(step, means)
                shown = "accuracy" if "accuracy" in means else "teacher_agreement"
                progress.update(step, f"loss {means['loss']:.3f}, {shown.replace('_', ' ')} {100 * means[shown]:.1f} %")
                logged_at, waited, window = now, 0.0, []
            if step == num_steps:
                break
            stopping = must_stop()
            if stopping or step % config.checkpoint_every_steps == 0:
                checkpoints.save(state, step)
            if stopping:
                break
        writer.close()
        checkpoints.wait()
    if stopping:
        raise Stopped(f"{iteration.title('train')}: stopped by SIGTERM at step {step}; start again to continue")
    return state


def _hand_over(iteration: Iteration, state: TrainState, card: dict) -> None:
    """Writes the EMA as the model of this iteration."""
    variables = whole_on_host(iteration.mesh, {"params": state.ema_params, "batch_stats": state.ema_batch_stats})
    if is_lead():
        single = {name: unstack_blocks(tree) for name, tree in variables.items()}
        save_artifact(iteration.model_dir, single, card | {"steps": int(state.step)})
    barrier("train: model written")
    logging.info("model of %s: %s", iteration.title("train"), load_artifact(iteration.model_dir).fingerprint)
