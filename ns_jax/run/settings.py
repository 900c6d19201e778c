"""From a config to the values that the functions of training, data and inference take."""

import dataclasses
import math
from collections.abc import Sequence

import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ns_jax.data.ops.registry import Augmentation, RandAugmentSettings
from ns_jax.data.views import View
from ns_jax.errors import UserError
from ns_jax.models.base import ArrayInputs, BuildOptions, ImageInputs, Inputs
from ns_jax.models.registry import get_architecture
from ns_jax.parallel.coordination import TimeOuts
from ns_jax.pseudo_labels.rules import SelectionSettings
from ns_jax.training.losses import LossSettings
from ns_jax.training.schedule import ScheduleSettings
from ns_jax.training.step import StepSettings


def build_options(config: ConfigDict, bn_groups: int = 1) -> BuildOptions:
    """How the network that a config trains is built."""
    return BuildOptions(
        dtype=jnp.dtype(config.dtype),
        dropout_rate=config.noise.dropout_rate,
        stochastic_depth_rate=config.noise.stochastic_depth_rate,
        bn_groups=bn_groups,
        frozen_blocks=config.frozen_blocks,
        scan_blocks=config.parallel.scan_blocks,
        remat=config.parallel.remat,
        bn_momentum=config.bn_momentum,
        head_init=config.head_init,
    )


def prediction_options(config: ConfigDict, variant: str, dtype: str | None = None) -> BuildOptions:
    """How a trained network of `variant` is built: in `dtype`, the config's where None; as loops where it has them."""
    options = build_options(config)
    return dataclasses.replace(
        options,
        dtype=jnp.dtype(dtype or config.dtype),
        scan_blocks=options.scan_blocks and get_architecture(variant).can_scan,
        remat=False,
        frozen_blocks=0,
    )


def train_view(inputs: Inputs, resolution: int | None, crop_padding: int | None = None) -> View | None:
    """The view of training images at `resolution` pixels; None for arrays. What is None is the model's own."""
    if isinstance(inputs, ArrayInputs):
        inputs.example_shape(resolution)  # raises where a resolution is set
        return None
    return _view(inputs, resolution or inputs.resolution, crop_padding)


def test_view(inputs: Inputs, resolution: int | None = None, crop_padding: int | None = None) -> View | None:
    """The clean view of labelling and evaluation; None for arrays. What is None is the model's own."""
    if isinstance(inputs, ArrayInputs):
        return None
    return _view(inputs, resolution or inputs.test_resolution, crop_padding)


def _view(inputs: ImageInputs, size: int, crop_padding: int | None) -> View:
    return View(size, inputs.crop_padding if crop_padding is None else crop_padding, inputs.interpolation)


def augmentation(config: ConfigDict, operations: tuple[str, ...] | None = None) -> Augmentation:
    """The augmentation of training images; `operations` replaces the config's."""
    noise = config.noise
    randaugment = RandAugmentSettings(
        noise.randaugment_ops, noise.randaugment_magnitude, noise.randaugment_set, noise.randaugment_form
    )
    chosen = config.augment if operations is None else operations
    return Augmentation(tuple(chosen), randaugment, config.cutout_size, config.crop_min_area)


def unlabeled_augmentation(config: ConfigDict) -> Augmentation:
    """The augmentation of pseudo-labeled images: that of labeled ones where the config names no other."""
    return augmentation(config, config.augment_unlabeled)


def online_augmentation(config: ConfigDict) -> Augmentation | None:
    """The augmentation of the images that an online teacher labels; None: they are clean."""
    return augmentation(config, config.online_augment) if config.online_augment else None


def schedule_settings(config: ConfigDict) -> ScheduleSettings:
    """The learning rate of a config."""
    return ScheduleSettings(
        base_learning_rate=config.base_learning_rate,
        warmup_epochs=config.warmup_epochs,
        decay_epochs=config.decay_epochs,
        decay_rate=config.decay_rate,
        train_epochs=config.train_epochs,
        start_epoch=config.schedule_start_epoch,
        final_base_learning_rate=config.final_base_learning_rate,
        labeled_batch_size=config.labeled_batch_size,
        labeled_sample_prob=config.labeled_sample_prob,
    )


def step_settings(config: ConfigDict, class_prior: Sequence[float] = ()) -> StepSettings:
    """What the training step of a config computes; `class_prior` is the share of each class in what it draws."""
    adjustment = tuple(config.logit_adjustment * math.log(share) for share in class_prior)
    loss = LossSettings(
        label_smoothing=config.label_smoothing,
        pseudo_label=config.pseudo_label,
        temperature=config.temperature,
        reduction=config.loss_reduction,
        labeled_sample_prob=config.labeled_sample_prob,
        logit_adjustment=adjustment if config.logit_adjustment else (),
        min_confidence=config.online_min_confidence,
        weight=config.pseudo_label_weight,
    )
    return StepSettings(
        loss=loss,
        weight_decay=config.weight_decay,
        ema_decay=config.ema_decay,
        seed=config.seed,
        noise_unlabeled=config.noise.model_noise_unlabeled,
        accumulation_steps=config.parallel.accumulation_steps,
        ema_teaches=config.online_ema and bool(config.data.unlabeled),
    )


def time_outs(config: ConfigDict) -> TimeOuts:
    """How long the hosts of a run wait for each other."""
    waits = config.timeouts
    return TimeOuts(
        join=waits.join_seconds,
        silence=waits.silence_seconds,
        barrier=waits.barrier_seconds,
        process_zero=waits.process_zero_seconds,
        report=waits.report_seconds,
        shutdown=waits.shutdown_seconds,
    )


def selection_settings(config: ConfigDict) -> SelectionSettings:
    """The filter and the balance of a config."""
    return SelectionSettings(config.min_confidence, config.max_confidence, config.images_per_class, config.balance)


def unlabeled_batch_size(config: ConfigDict) -> int:
    """Unlabeled images per step, over all devices."""
    return round(config.labeled_batch_size * config.labeled_sample_prob * config.unlabeled_ratio)


OFFICIAL_GROUPS = -1


def official_group_size(num_devices: int) -> int:
    """Cores that share batch norm statistics in the official code (noisystudent utils.py, `_moments`)."""
    return 1 if num_devices <= 8 else max(8, num_devices // 8)


def bn_groups(config: ConfigDict, mesh: Mesh) -> int:
    """In how many parts a batch is normalised. Raises UserError if the devices cannot be grouped so."""
    group = config.bn_group_size or mesh.size
    if group == OFFICIAL_GROUPS:
        group = official_group_size(mesh.size)
    if mesh.size % group:
        raise UserError(f"bn_group_size={group} does not divide the {mesh.size} devices")
    return mesh.size // group
