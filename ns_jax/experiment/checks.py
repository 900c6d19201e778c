"""Checks of a config before anything heavy starts: each field by its constraint, then several fields together."""

from typing import Any

from ml_collections import ConfigDict

from ns_jax.errors import UserError
from ns_jax.experiment.constraints import FOLDER_NAME, show
from ns_jax.experiment.evaluations import EVALUATION, options_of
from ns_jax.experiment.fields import FIELDS, value_of
from ns_jax.registry import is_import_path


def require(condition: Any, problem: str) -> None:
    """Raises UserError with `problem` unless `condition` is true."""
    if not condition:
        raise UserError(problem)


def check_each_field(config: ConfigDict, has_teacher: bool) -> None:
    for field in FIELDS.values():
        value = value_of(config, field.name)
        problem = field.problem(value)
        require(not problem, f"{field.name}={show(value)} {problem}")


def check_evaluations(config: ConfigDict, has_teacher: bool) -> None:
    for title, evaluation in config.evaluations.items():
        require(FOLDER_NAME.fullmatch(title), f"evaluations: {title!r} is no name for a file (letters, digits, -, _)")
        known = options_of(evaluation.type) if isinstance(evaluation.type, str) else EVALUATION
        for key, (_, constraint, _) in known.items():
            problem = constraint(evaluation[key])
            require(not problem, f"evaluations.{title}.{key}={show(evaluation[key])} {problem}")
        # An evaluator from elsewhere may have options of its own.
        if not is_import_path(evaluation.type):
            surplus = sorted(set(evaluation) - set(known))
            require(not surplus, f"evaluations.{title}: there is no {surplus[:1]}, only {', '.join(known)}")


# --- Checks of several fields, one function each -------------------------------------------------------


def check_data(config: ConfigDict, has_teacher: bool) -> None:
    require(config.data.labeled, "data.labeled is empty: name the labeled images")
    require(
        config.data.test or has_validation(config),
        "data.test is empty: name the labeled images to evaluate on, or set validation_fraction",
    )


def has_validation(config: ConfigDict) -> bool:
    """Whether an iteration is measured on images that choose."""
    return bool(config.data.validation or config.validation_fraction or config.validation_folds)


def check_validation(config: ConfigDict, has_teacher: bool) -> None:
    ways = {
        "data.validation": config.data.validation,
        "validation_fraction": config.validation_fraction,
        "validation_folds": config.validation_folds,
    }
    chosen = [f"{field}={value}" for field, value in ways.items() if value]
    require(len(chosen) < 2, f"{' and '.join(chosen)}: one of them says what to validate on, not both")
    require(
        config.validation_folds != 1, "validation_folds=1 leaves nothing to train on: 0 is none, 2 or more are folds"
    )
    for field in ("calibrate", "min_precision"):
        require(
            not config[field] or chosen,
            f"{field}={config[field]} without validation images: set validation_fraction, validation_folds or "
            "data.validation",
        )
    require(not (config.calibrate and config.online_teacher), "calibrate is of stored labels: set online_teacher=False")


def check_teacher(config: ConfigDict, has_teacher: bool) -> None:
    if config.data.unlabeled:
        require(config.unlabeled_ratio > 0, "unlabeled_ratio must be above 0 with data.unlabeled")
        require(has_teacher, "data.unlabeled is set, but there is no teacher: set teacher to a model folder")
        return
    require(not config.teacher, "teacher is set, but data.unlabeled is empty: there is nothing to label")
    require(
        config.train_on == "both", f"train_on={config.train_on!r} without data.unlabeled: there are no pseudo-labels"
    )


def check_start(config: ConfigDict, has_teacher: bool) -> None:
    require(config.init_from != "teacher" or has_teacher, "init_from='teacher', but there is no teacher")
    require(
        not config.frozen_blocks or config.init_from,
        f"frozen_blocks={config.frozen_blocks} without init_from would freeze random weights",
    )


def check_model(config: ConfigDict, has_teacher: bool) -> None:
    from ns_jax.models.registry import get_architecture

    model = get_architecture(config.variant)
    for field, able in (("scan_blocks", model.can_scan), ("remat", model.can_remat)):
        require(not config.parallel[field] or able, f"parallel.{field}: model {config.variant} has no {field}")
    for field in ("frozen_blocks", "finetune.frozen_blocks"):
        frozen = value_of(config, field)
        require(frozen <= model.num_blocks, f"{field}={frozen}: {config.variant} has {model.num_blocks} blocks")


def check_resolutions(config: ConfigDict, has_teacher: bool) -> None:
    from ns_jax.models.base import ImageInputs
    from ns_jax.models.registry import get_architecture

    inputs = get_architecture(config.variant).inputs
    if not isinstance(inputs, ImageInputs):
        for field in ("resolution", "test_resolution", "finetune.resolution"):
            value = value_of(config, field)
            require(value is None, f"{field}={value}: {config.variant} takes arrays of one shape, not images")
        return
    trained_at, tuned_at = config.resolution or inputs.resolution, config.finetune.resolution
    require(
        tuned_at is None or tuned_at >= trained_at,
        f"finetune.resolution={tuned_at} is below that of training, {trained_at}",
    )


def check_schedule(config: ConfigDict, has_teacher: bool) -> None:
    require(
        not config.final_base_learning_rate
        or (config.final_base_learning_rate < config.base_learning_rate and config.decay_rate < 1),
        "final_base_learning_rate must be below base_learning_rate, and decay_rate below 1",
    )
    tune = config.finetune
    require(
        tune.epochs <= config.train_epochs or tune.base_learning_rate,
        f"finetune.epochs={tune.epochs} is longer than train_epochs: give finetune.base_learning_rate",
    )


def check_batches(config: ConfigDict, has_teacher: bool) -> None:
    batch = config.labeled_batch_size * config.labeled_sample_prob * config.unlabeled_ratio
    require(
        not config.data.unlabeled or abs(batch - round(batch)) < 1e-6,
        f"labeled_batch_size * labeled_sample_prob * unlabeled_ratio = {batch} is not a whole number of images",
    )


def check_selection(config: ConfigDict, has_teacher: bool) -> None:
    require(config.max_confidence > config.min_confidence, "max_confidence must be above min_confidence")
    require(
        config.balance == "equal" or config.images_per_class,
        f"balance={config.balance!r} without images_per_class: there is no number of images to share out",
    )


def check_imbalance(config: ConfigDict, has_teacher: bool) -> None:
    require(
        config.class_sampling == "natural" or not config.logit_adjustment,
        f"class_sampling='balanced' and logit_adjustment={config.logit_adjustment} do the same: choose one",
    )


def check_online_teacher(config: ConfigDict, has_teacher: bool) -> None:
    if not config.online_teacher:
        for field in ("online_ema", "online_augment", "online_min_confidence"):
            require(
                not config[field], f"{field}={show(config[field])} is of an online teacher: set online_teacher=True"
            )
        return
    require(config.data.unlabeled, "online_teacher without data.unlabeled: there is nothing to label")
    require(not config.noise.teacher, "online_teacher is not noised: set noise.teacher=False")
    if config.selection_from:
        return
    every_image = {"min_confidence": 0.0, "max_confidence": 1.0, "images_per_class": 0, "unlabeled_fraction": 1.0}
    for field, value in every_image.items():
        require(
            config[field] == value,
            f"online_teacher uses every image, so {field} must be {value}, not {config[field]}; or name a selection in "
            "selection_from",
        )


def check_inference_engine(config: ConfigDict, has_teacher: bool) -> None:
    engine = config.inference_engine
    require(engine == "jax" or not config.noise.teacher, f"inference_engine={engine!r} has no noise: choose 'jax'")
    require(engine == "jax" or not config.online_teacher, f"inference_engine={engine!r} trains nothing: choose 'jax'")


CHECKS = (
    check_each_field,
    check_evaluations,
    check_data,
    check_validation,
    check_teacher,
    check_start,
    check_model,
    check_resolutions,
    check_schedule,
    check_batches,
    check_selection,
    check_imbalance,
    check_online_teacher,
    check_inference_engine,
)


def validate(config: ConfigDict) -> None:
    """Checks the whole config, every iteration of it.

    Names of operations, rules, evaluators and stages are checked where they are looked up, which imports more.

    Raises:
      UserError: it is impossible; names the iteration and the field, and says why.
    """
    from ns_jax.experiment.chain import iterations

    resolved = iterations(config)
    for position, (title, iteration) in enumerate(resolved):
        for check in CHECKS:
            try:
                check(iteration, has_teacher=bool(position or iteration.teacher))
            except UserError as error:
                raise UserError(f"{title}: {error}" if title else str(error)) from None
    # The first iteration of a chain has the ratio of the others, without meaning.
    require(
        not config.unlabeled_ratio or any(iteration.data.unlabeled for _, iteration in resolved),
        f"unlabeled_ratio={config.unlabeled_ratio} without data.unlabeled: name the unlabeled images, or set "
        "unlabeled_ratio=0 for supervised training",
    )
    for field, use in (("data.exclude", "leave out"), ("selection_from", "select from")):
        value = value_of(config, field)
        require(
            not value or any(iteration.data.unlabeled for _, iteration in resolved),
            f"{field}={value} without data.unlabeled: there is nothing to {use}",
        )
