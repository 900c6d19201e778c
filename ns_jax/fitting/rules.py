"""The rules by which `ns_jax.fit` makes a recipe from what it has seen. Each says in a line what it chose, and why."""

from ml_collections import ConfigDict

from ns_jax.errors import UserError
from ns_jax.fitting.budget import Shape
from ns_jax.fitting.look import Seen

STRIDE = 32  # pixels of an image for each of a model's last maps
SIDES_ON_CPU, SIDES = (64, 160), (64, 224)  # limits of the resolution, pixels
TEACHER_EPOCHS, TEACHER_STEPS = 30, (150, 3000)  # passes over the labeled images, and limits in steps
STUDENT_EPOCHS, STUDENT_STEPS = 4, (200, 6000)  # passes over the unlabeled images, and limits in steps
STUDENTS = 2  # of a budget that allows them
FOLDS = 3
ENOUGH_TO_HOLD_OUT = 200  # validation images: fewer tell too little, and cross-validation uses every label
IMBALANCE = 3.0  # of the labeled images of two classes, from which on classes are drawn equally often
HEAD_SHARE = 0.25  # of a training in which only the new head learns
DECAYS = 30  # times 0.97 in a training: the rate ends at 0.4 of its peak
EMA_SHARE = 0.1  # of the training, over which weights are averaged
# Of `training_fields`.
DURATIONS = frozenset({"train_epochs", "warmup_epochs", "head_epochs", "decay_epochs", "ema_decay"})


def choose_resolution(seen: Seen, on_cpu: bool) -> int:
    """A multiple of the stride that is not above the images' own size, pixels.

    Raises:
      UserError: there are images smaller than the stride.
    """
    if seen.smallest_side < STRIDE:
        raise UserError(
            f"there are images of {seen.smallest_side} px, and the model halves them to {STRIDE} times smaller maps: "
            "take larger images, or --config=configs/mnist5k.py as a model of small ones"
        )
    lowest, highest = SIDES_ON_CPU if on_cpu else SIDES
    return min(max(seen.shorter_side // STRIDE * STRIDE, lowest), highest)


def choose_shapes(seen: Seen, labeled_batch: int, student_unlabeled_batch: int, control: bool) -> list[Shape]:
    """What might be done, the best first: fewer students, then a part held out instead of cross-validation."""
    teacher_steps = _within(TEACHER_EPOCHS * seen.num_labeled / labeled_batch, TEACHER_STEPS)
    student_steps = _within(STUDENT_EPOCHS * seen.num_unlabeled / student_unlabeled_batch, STUDENT_STEPS)
    folds = (0,) if holds_out_enough(seen) else (FOLDS, 0)
    return [
        Shape(teacher_steps, student_steps, students, number, control, seen.num_unlabeled, seen.num_test)
        for number in folds
        for students in range(STUDENTS, 0, -1)
    ]


def holds_out_enough(seen: Seen, fraction: float = 0.2) -> bool:
    """Whether a part of the labeled images is enough to validate on."""
    return fraction * seen.num_labeled >= ENOUGH_TO_HOLD_OUT


def _within(value: float, limits: tuple[int, int]) -> int:
    return round(min(max(value, limits[0]), limits[1]))


def make_recipe(seen: Seen, config: ConfigDict, resolution: int, shape: Shape) -> dict:
    """The fields of a config that the images decide, as a nested dictionary.

    Args:
      seen: of the images.
      config: of configs/own_images.py.
      resolution: see `choose_resolution`.
      shape: how much is done.
    """
    teacher_batch, student_batch = config.labeled_batch_size, config.labeled_batch_size // 2
    trained, has_start = num_trained(seen, config, shape), bool(config.init_from)
    fields = {
        "resolution": resolution,
        "test_resolution": resolution,
        "class_sampling": "balanced" if max(seen.counts) >= IMBALANCE * min(seen.counts) else "natural",
        "validation_fraction": 0.0 if shape.folds else config.validation_fraction,
        "validation_folds": shape.folds,
        **training_fields(shape.teacher_steps, teacher_batch, trained, has_start),
        "chain": {"iteration_0": {"data": {"unlabeled": ""}}},
    }
    for number in range(1, shape.students + 1):
        fields["chain"][f"iteration_{number}"] = {
            "labeled_batch_size": student_batch,
            # The rate is per labeled image of a step, and a student has half as many: the rate stays the same.
            "base_learning_rate": config.base_learning_rate * teacher_batch / student_batch,
            **training_fields(shape.student_steps, student_batch, trained, has_start),
        }
    if shape.control:
        fields["chain"]["control"] = {
            "data": {"unlabeled": ""},
            **training_fields(shape.control_steps, teacher_batch, trained, has_start),
        }
        fields["chain_order"] = tuple(fields["chain"])
    return fields


def num_trained(seen: Seen, config: ConfigDict, shape: Shape) -> int:
    """Labeled images of an epoch: all of them but those that are held out."""
    return seen.num_labeled if shape.folds else round(seen.num_labeled * (1 - config.validation_fraction))


def training_fields(steps: int, labeled_batch: int, num_labeled: int, has_start: bool) -> dict:
    """Durations and averages of a training of so many steps: epochs are passes over the labeled images."""
    epochs = steps * labeled_batch / num_labeled
    return {
        "train_epochs": epochs,
        "warmup_epochs": epochs / 10,
        "head_epochs": epochs * HEAD_SHARE if has_start else 0.0,
        "decay_epochs": epochs / DECAYS,
        "ema_decay": min(0.9999, 1 - 1 / (EMA_SHARE * steps)),
    }


def describe(seen: Seen, config: ConfigDict, shape: Shape) -> list[str]:
    """A line on each choice of a planned config."""
    smallest, largest = min(seen.counts), max(seen.counts)
    sampling = "each class drawn equally often" if config.class_sampling == "balanced" else "drawn as they are"
    if shape.folds:
        check = f"cross-validation in {shape.folds} parts, as {seen.num_labeled} labels are few"
    else:
        check = f"{100 * config.validation_fraction:.0f} % of the labeled images, held out"
    return [
        f"classes: {len(seen.class_names)}, with {smallest} to {largest} labeled images; {sampling}",
        f"resolution: {config.resolution} px, of images of {seen.shorter_side} px",
        f"teacher: {config.variant} from {config.init_from or 'random weights'}, {shape.teacher_steps} steps of "
        f"{config.labeled_batch_size} images",
        f"students: {shape.students}, each {shape.student_steps} steps of {config.labeled_batch_size // 2} labeled and "
        f"{config.labeled_batch_size // 2 * config.unlabeled_ratio} pseudo-labeled images",
        f"pseudo-labels: all, soft, calibrated on validation, then sharpened (temperature {config.temperature:g})",
        f"validation: {check}",
    ]
