"""The compiled functions of an iteration and how often it runs them, as shapes: without data, weights or devices."""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from ns_jax.experiment.chain import finetune_config
from ns_jax.inference.predictor import make_predict
from ns_jax.models.base import Architecture, ArrayInputs, Inputs, Network, build_network
from ns_jax.models.registry import get_architecture
from ns_jax.parallel.mesh import check_divides
from ns_jax.pseudo_labels.store import shard_ranges
from ns_jax.run.settings import prediction_options, unlabeled_batch_size
from ns_jax.run.training import make_training


@dataclasses.dataclass(frozen=True)
class Counts:
    """Images and classes of the data sets. The defaults are ImageNet and, unlabeled, the paper's (section 3.1).

    `selected` of the unlabeled images are labeled where a config has a selection (`selection_from`).
    """

    labeled: int = 1_281_167
    unlabeled: int = 300_000_000
    selected: int = 81_000_000
    test: int = 50_000
    classes: int = 1000


@dataclasses.dataclass(frozen=True)
class Program:
    """A jitted function, its arguments by kind (trees of shapes), and what it is for.

    Attributes:
      stage: 'label', 'train', 'finetune' or 'evaluate'.
      function: jitted; takes `arguments`.
      arguments: what the function takes.
      memory: kind of memory -> the tree of arguments that is it.
      images: that one run takes, over all devices.
      resolution: of these images, pixels; None for arrays.
      runs: how often the stage runs it.
    """

    stage: str
    function: Callable
    arguments: tuple
    memory: dict
    images: int
    resolution: int | None
    runs: int


@dataclasses.dataclass(frozen=True)
class Teacher:
    """What a plan knows of a teacher.

    Attributes:
      architecture: of its network.
      resolution: in pixels, at which it labels; None for arrays.
      dtype: in which it computes, as 'bfloat16'; that of the student's config where None.
    """

    architecture: Architecture
    resolution: int | None
    dtype: str | None = None


def result_of(config) -> Teacher:
    """The model with which an iteration ends, as the teacher of the next."""
    architecture = get_architecture(config.variant)
    if isinstance(architecture.inputs, ArrayInputs):
        return Teacher(architecture, None, config.dtype)
    last = finetune_config(config, "model") if config.finetune.epochs else config
    return Teacher(architecture, last.test_resolution or architecture.inputs.test_resolution, config.dtype)


def label_programs(config, mesh, counts: Counts, teacher: Teacher) -> list[Program]:
    """Prediction by the teacher, one shard of the unlabeled images a host."""
    sizes = [stop - start for start, stop in shard_ranges(counts.unlabeled, config.label_shard_size)]
    if config.selection_from:  # selected images lie anywhere: as many shards, with fewer images each
        share = min(1.0, counts.selected / counts.unlabeled)
        sizes = [math.ceil(size * share) for size in sizes]
    hosts = num_hosts(mesh)
    rounds = [max(sizes[i : i + hosts]) for i in range(0, len(sizes), hosts)]
    noise_seed = config.seed if config.noise.teacher else None
    return [_prediction("label", config, mesh, teacher, rounds, counts.classes, noise_seed)]


def train_programs(config, mesh, counts: Counts, teacher: Teacher | None) -> list[Program]:
    """The training step: a student's where the config has unlabeled images."""
    return [_training("train", config, mesh, counts, teacher if config.data.unlabeled else None)]


def finetune_programs(config, mesh, counts: Counts, teacher: Teacher | None) -> list[Program]:
    """The training step of fine-tuning, which is on labeled images alone."""
    return [_training("finetune", finetune_config(config, "model"), mesh, counts, None)]


def evaluate_programs(config, mesh, counts: Counts, teacher: Teacher | None) -> list[Program]:
    """Prediction by the model with which the iteration ends."""
    rounds = [-(-counts.test // num_hosts(mesh))]
    return [_prediction("evaluate", config, mesh, result_of(config), rounds, counts.classes)]


def num_hosts(mesh) -> int:
    return len({device.process_index for device in mesh.devices.flat})


def _prediction(
    stage: str, config, mesh, model: Teacher, rounds: list[int], num_classes: int, noise_seed: int | None = None
) -> Program:
    """`rounds`: images of the busiest host, in each part of the work that hosts begin together."""
    check_divides("eval_batch_size", config.eval_batch_size, mesh)
    network = _predicting_network(config, model, num_classes, config.prediction_dtype or model.dtype)
    variables = jax.eval_shape(lambda: network.init(0, model.resolution))
    size, size_of_host = config.eval_batch_size, config.eval_batch_size // num_hosts(mesh)
    examples = _array((size, *network.inputs.example_shape(model.resolution)), jnp.float32)
    arguments = (variables, examples, _array((size,), jnp.int32))
    return Program(
        stage=stage,
        function=make_predict(network, mesh, noise_seed),
        arguments=arguments,
        memory={"parameters": variables, "batch": arguments[1:]},
        images=size,
        resolution=model.resolution,
        runs=sum(-(-count // size_of_host) for count in rounds),
    )


def _predicting_network(config, model: Teacher, num_classes: int, dtype: str | None) -> Network:
    options = prediction_options(config, model.architecture.name, dtype)
    return build_network(model.architecture, num_classes, options)


def _training(stage: str, config, mesh, counts: Counts, teacher: Teacher | None) -> Program:
    inputs = get_architecture(config.variant).inputs
    online = clean = None
    if teacher is not None and config.online_ema:
        clean = inputs.example_shape(config.resolution)
    elif teacher is not None and config.online_teacher:
        online = _predicting_network(config, teacher, counts.classes, teacher.dtype)
    batch = {}
    if config.train_on == "both":
        batch |= _labeled_batch(config, mesh, inputs)
    if teacher is not None:
        clean = online.inputs.example_shape(teacher.resolution) if online is not None else clean
        batch |= _unlabeled_batch(config, mesh, inputs, counts.classes, clean)
    training = make_training(config, counts.classes, counts.labeled, mesh, online)
    like, arguments = training.like, (training.like, batch)
    memory = {
        "parameters": like.params,
        "optimizer": like.opt_state,
        "EMA": (like.ema_params, like.ema_batch_stats),
        "batch": batch,
        "batch norm statistics": like.batch_stats,
    }
    if online is not None:
        memory["teacher"] = jax.eval_shape(lambda: online.init(0, teacher.resolution))
        arguments += (memory["teacher"],)
    return Program(
        stage=stage,
        function=training.step,
        arguments=arguments,
        memory=memory,
        images=sum(batch[name].shape[0] for name in ("image", "unlabeled_image") if name in batch),
        resolution=None if isinstance(inputs, ArrayInputs) else config.resolution or inputs.resolution,
        runs=training.num_steps,
    )


def _labeled_batch(config, mesh, inputs: Inputs) -> dict:
    size = config.labeled_batch_size
    check_divides("labeled_batch_size", size, mesh, config.parallel.accumulation_steps)
    return {"image": _examples(size, config, inputs), "label": _array((size,), jnp.int32)}


def _unlabeled_batch(config, mesh, inputs: Inputs, num_classes: int, clean: tuple[int, ...] | None) -> dict:
    """`clean`: shape of an example as an online teacher gets it; None with stored probabilities."""
    size = unlabeled_batch_size(config)
    check_divides("the unlabeled batch", size, mesh, config.parallel.accumulation_steps)
    batch = {"unlabeled_image": _examples(size, config, inputs)}
    if clean is not None:
        return batch | {"clean_image": _array((size, *clean), jnp.float32)}
    return batch | {"probs": _array((size, num_classes), jnp.float32)}


def _examples(size: int, config, inputs: Inputs) -> jax.ShapeDtypeStruct:
    """A batch as the data pipeline gives it: uint8 images, or arrays."""
    dtype = jnp.dtype(inputs.dtype) if isinstance(inputs, ArrayInputs) else jnp.uint8
    return _array((size, *inputs.example_shape(config.resolution)), dtype)


def _array(shape: tuple[int, ...], dtype) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)
