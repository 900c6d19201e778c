"""The compiled functions of an iteration and how often it runs them, as shapes: without data, weights or devices."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from ns_jax.experiment.chain import finetune_config
from ns_jax.inference.predictor import make_predict
from ns_jax.models.base import Architecture, ArrayInputs, Network, build_network
from ns_jax.models.registry import get_architecture
from ns_jax.parallel.mesh import check_divides
from ns_jax.pseudo_labels.store import shard_ranges
from ns_jax.run.settings import prediction_options, unlabeled_batch_size
from ns_jax.run.training import make_training


@dataclasses.dataclass(frozen=True)
class Counts:
    """Images and classes of the data sets. The defaults are ImageNet and, unlabeled, the paper's (section 3.1)."""

    labeled: int = 1_281_167
    unlabeled: int = 300_000_000
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
      resolution: of these images, pixels.
      runs: how often the stage runs it.
    """

    stage: str
    function: Callable
    arguments: tuple
    memory: dict
    images: int
    resolution: int
    runs: int


@dataclasses.dataclass(frozen=True)
class Teacher:
    """What a plan knows of a teacher: its architecture, and the resolution in pixels at which it labels."""

    architecture: Architecture
    resolution: int | None


def result_of(config) -> Teacher:
    """The model with which an iteration ends, as the teacher of the next."""
    architecture = get_architecture(config.variant)
    last = finetune_config(config, "model") if config.finetune.epochs else config
    if isinstance(architecture.inputs, ArrayInputs):
        return Teacher(architecture, None)
    return Teacher(architecture, last.test_resolution or architecture.inputs.test_resolution)


def label_programs(config, mesh, counts: Counts, teacher: Teacher) -> list[Program]:
    """Prediction by the teacher, one shard of the unlabeled images a host."""
    sizes = [stop - start for start, stop in shard_ranges(counts.unlabeled, config.label_shard_size)]
    hosts = num_hosts(mesh)
    rounds = [max(sizes[i : i + hosts]) for i in range(0, len(sizes), hosts)]
    noise_seed = config.seed if config.noise.teacher else None
    return [_prediction("label", config, mesh, teacher, rounds, counts.classes, noise_seed)]


def train_programs(config, mesh, counts: Counts, teacher: Teacher | None) -> list[Program]:
    """The training step."""
    return [_training("train", config, mesh, counts, teacher)]


def finetune_programs(config, mesh, counts: Counts, teacher: Teacher | None) -> list[Program]:
    """The training step of fine-tuning."""
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
    network = build_network(model.architecture, num_classes, prediction_options(config, model.architecture.name))
    variables = jax.eval_shape(lambda: network.init(0, model.resolution))
    size, size_of_host = config.eval_batch_size, config.eval_batch_size // num_hosts(mesh)
    examples = _array((size, *network.inputs.example_shape(model.resolution)), jnp.float32)
    arguments = (variables, examples, _array((size,), jnp.int32))
    return Program(
        stage,
        make_predict(network, mesh, noise_seed),
        arguments,
        {"parameters": variables, "batch": arguments[1:]},
        size,
        model.resolution,
        sum(-(-count // size_of_host) for count in rounds),
    )


def _training(stage: str, config, mesh, counts: Counts, teacher: Teacher | None) -> Program:
    inputs = get_architecture(config.variant).inputs
    is_student = bool(config.data.unlabeled) and teacher is not None
    online: Network | None = None
    if is_student and config.online_teacher:
        options = prediction_options(config, teacher.architecture.name)
        online = build_network(teacher.architecture, counts.classes, options)
    batch, size, parts = {}, 0, config.parallel.accumulation_steps
    example, dtype = inputs.example_shape(config.resolution), jnp.uint8
    if isinstance(inputs, ArrayInputs):
        dtype = jnp.dtype(inputs.dtype)
    if config.train_on == "both":
        size = config.labeled_batch_size
        check_divides("labeled_batch_size", size, mesh, parts)
        batch |= {"image": _array((size, *example), dtype), "label": _array((size,), jnp.int32)}
    if is_student:
        unlabeled = unlabeled_batch_size(config)
        check_divides("the unlabeled batch", unlabeled, mesh, parts)
        batch["unlabeled_image"] = _array((unlabeled, *example), dtype)
        size += unlabeled
        if online:
            clean = online.inputs.example_shape(teacher.resolution)
            batch["clean_image"] = _array((unlabeled, *clean), jnp.float32)
        else:
            batch["probs"] = _array((unlabeled, counts.classes), jnp.float32)
    training = make_training(config, counts.classes, counts.labeled, mesh, online)
    like, arguments = training.like, (training.like, batch)
    memory = {
        "parameters": like.params,
        "optimizer": like.opt_state,
        "EMA": (like.ema_params, like.ema_batch_stats),
        "batch": batch,
        "batch norm statistics": like.batch_stats,
    }
    if online:
        arguments += (jax.eval_shape(lambda: online.init(0, teacher.resolution)),)
        memory["teacher"] = arguments[-1]
    resolution = None if isinstance(inputs, ArrayInputs) else example[0]
    return Program(stage, training.step, arguments, memory, size, resolution, training.num_steps)


def _array(shape: tuple[int, ...], dtype) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)
