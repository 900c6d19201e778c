"""The compiled functions of an iteration and how often it runs them, as shapes: without data, weights or devices."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from ns_jax.experiment.config import finetune_config
from ns_jax.models.variants import Variant, get_variant
from ns_jax.parallel.mesh import check_divides
from ns_jax.pseudo_labels.store import shard_ranges
from ns_jax.run.iteration import build_model
from ns_jax.stages import train
from ns_jax.training.schedule import num_train_steps
from ns_jax.training.state import model_variables
from ns_jax.training.step import make_predict


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


def programs(config, mesh, counts: Counts, teacher: tuple[Variant, int]) -> list[Program]:
    """The programs of one iteration in the order of its stages.

    Args:
      config: of the iteration, without a chain.
      mesh: its devices.
      counts: of its data.
      teacher: the teacher's row, and the resolution in pixels at which it labels.

    Raises:
      UserError: a batch cannot be split over the devices.
    """
    found, variant = [], get_variant(config.variant)
    has_teacher = bool(config.data.unlabeled)
    resolution = config.test_resolution or variant.test_resolution
    if "label" in config.stages and has_teacher and not config.online_teacher:
        sizes = [stop - start for start, stop in shard_ranges(counts.unlabeled, config.label_shard_size)]
        hosts = _hosts(mesh)
        rounds = [max(sizes[i : i + hosts]) for i in range(0, len(sizes), hosts)]  # one shard a host
        found.append(_prediction("label", config, mesh, *teacher, rounds, counts.classes))
    if "train" in config.stages:
        found.append(_training("train", config, mesh, counts, teacher))
    if "finetune" in config.stages and config.finetune.epochs:
        tuned = finetune_config(config, "model")
        found.append(_training("finetune", tuned, mesh, counts, teacher))
        resolution = tuned.test_resolution or variant.test_resolution
    if "evaluate" in config.stages:
        found.append(
            _prediction(
                "evaluate", config, mesh, variant, resolution, [-(-counts.test // _hosts(mesh))], counts.classes
            )
        )
    return found


def _hosts(mesh) -> int:
    return len({device.process_index for device in mesh.devices.flat})


def _prediction(stage, config, mesh, variant, resolution, rounds, num_classes):
    """`rounds`: images of the busiest host, in each part of the work that hosts begin together."""
    check_divides("eval_batch_size", config.eval_batch_size, mesh)
    model = build_model(variant, num_classes, config)
    variables = jax.eval_shape(lambda: model_variables(model, 0, resolution))
    size, of_host = config.eval_batch_size, config.eval_batch_size // _hosts(mesh)
    images = _array((size, resolution, resolution, 3), jnp.float32)
    arguments = (variables, images, _array((size,), jnp.int32))
    noise_seed = config.seed if stage == "label" and config.noise.teacher else None
    return Program(
        stage,
        make_predict(model, mesh, noise_seed),
        arguments,
        {"parameters": variables, "batch": arguments[1:]},
        size,
        resolution,
        sum(-(-count // of_host) for count in rounds),
    )


def _training(stage, config, mesh, counts, teacher):
    has_teacher, size = bool(config.data.unlabeled), 0
    resolution = config.resolution or get_variant(config.variant).resolution
    online = build_model(teacher[0], counts.classes, config) if has_teacher and config.online_teacher else None
    batch = {}
    parts = config.parallel.accumulation_steps
    if config.train_on == "both":
        size = config.labeled_batch_size
        check_divides("labeled_batch_size", size, mesh, parts)
        batch |= {"image": _images(size, resolution), "label": _array((size,), jnp.int32)}
    if has_teacher:
        unlabeled = train.unlabeled_batch_size(config)
        check_divides("the unlabeled batch", unlabeled, mesh, parts)
        batch["unlabeled_image"] = _images(unlabeled, resolution)
        size += unlabeled
        if online:
            batch["clean_image"] = _array((unlabeled, teacher[1], teacher[1], 3), jnp.float32)
        else:
            batch["probs"] = _array((unlabeled, counts.classes), jnp.float32)
    training = train.make_training(config, counts.classes, counts.labeled, mesh, online)
    like, arguments = training.like, (training.like, batch)
    memory = {
        "parameters": like.params,
        "optimizer": like.opt_state,
        "EMA": (like.ema_params, like.ema_batch_stats),
        "batch": batch,
        "batch norm statistics": like.batch_stats,
    }
    if online:
        arguments += (jax.eval_shape(lambda: model_variables(online, 0, teacher[1])),)
        memory["teacher"] = arguments[-1]
    return Program(stage, training.step, arguments, memory, size, resolution, num_train_steps(config, counts.labeled))


def _array(shape, dtype):
    return jax.ShapeDtypeStruct(shape, dtype)


def _images(size: int, resolution: int):
    return _array((size, resolution, resolution, 3), jnp.uint8)
