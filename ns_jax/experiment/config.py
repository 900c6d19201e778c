"""What a config means: its iterations, whether it makes sense, and whose workdir this is."""

import hashlib
import json
import re

from etils import epath
from ml_collections import ConfigDict

from ns_jax.errors import UserError
from ns_jax.files import check_writable, read_json, write_json
from ns_jax.models.variants import EfficientNetVariant, get_variant

STAGES = ("label", "select", "train", "finetune", "evaluate")
# Fields that change how a run goes, but not what comes out of it.
RUNNING_FIELDS = (
    "stages",
    "paper_row",
    "log_every_steps",
    "checkpoint_every_steps",
    "keep_checkpoints",
    "compilation_cache_dir",
    "data.dir",
    "parallel.shard_state",
    "parallel.remat",
)


def flatten(config: ConfigDict) -> dict:
    """{'data.labeled': value, ...}, without RUNNING_FIELDS; values as JSON knows them."""
    flat = {}

    def walk(node, prefix):
        for key, value in node.items():
            if isinstance(value, ConfigDict):
                walk(value, f"{prefix}{key}.")
            elif re.sub(r"^chain\.[^.]*\.", "", prefix + key) not in RUNNING_FIELDS:
                flat[prefix + key] = list(value) if isinstance(value, tuple) else value

    walk(config, "")
    return flat


def fingerprint(config: ConfigDict) -> str:
    """SHA-256 of everything in the config that decides the result."""
    return hashlib.sha256(json.dumps(flatten(config), sort_keys=True).encode()).hexdigest()


def lockstep_fingerprint(config: ConfigDict) -> str:
    """SHA-256 of what all hosts of a run must have alike: `fingerprint`, and what they wait for each other in."""
    waits = [
        (*one.stages, one.checkpoint_every_steps, one.keep_checkpoints, one.parallel.shard_state, one.parallel.remat)
        for _, one in iterations(config)
    ]
    return hashlib.sha256(json.dumps([fingerprint(config), waits]).encode()).hexdigest()


def iterations(config: ConfigDict) -> list[tuple[str, ConfigDict]]:
    """(name, config) of each iteration in order; a config without a chain is one, named ''."""
    if not config.chain:
        return [("", config)]
    found = []
    in_order = sorted(
        config.chain, key=lambda name: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
    )
    for name in in_order:
        one = ConfigDict(config).copy_and_resolve_references()
        one.chain = ConfigDict()
        one.lock()
        try:
            one.update(config.chain[name])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"chain.{name}: {' '.join(str(error).split())}") from None
        found.append((name, one))
    return found


def without_augmentation(config: ConfigDict) -> ConfigDict:
    """The same config with clean centre crops."""
    clean = ConfigDict(config).copy_and_resolve_references()
    with clean.unlocked():
        clean.update({"crop": "center", "flip": False, "cutout_size": 0, "noise": {"randaugment_ops": 0}})
    return clean


def finetune_config(config: ConfigDict, init_from: str) -> ConfigDict:
    """The supervised training that fine-tunes what `config` has trained (paper section 3.1, FixRes).

    Without a learning rate of its own it goes through the end of the schedule once more (official code).
    """
    tune, one = config.finetune, ConfigDict(config).copy_and_resolve_references()
    if not tune.augment:
        one = without_augmentation(one)
    resolution = tune.resolution or config.resolution or get_variant(config.variant).resolution
    own = {
        "base_learning_rate": tune.base_learning_rate,
        "warmup_epochs": 0.0,
        "schedule_start_epoch": 0.0,
        "final_base_learning_rate": 0.0,
    }
    with one.unlocked():
        one.update(
            {
                "train_epochs": tune.epochs,
                "train_on": "both",
                "resolution": resolution,
                "test_resolution": resolution if tune.resolution else config.test_resolution,
                "frozen_blocks": tune.frozen_blocks,
                "init_from": init_from,
                "teacher": "",
                "data": {"unlabeled": ""},
                "labeled_sample_prob": 1.0,
                "schedule_start_epoch": config.train_epochs - tune.epochs,
            }
        )
        if tune.base_learning_rate:
            one.update(own)
    return one


def _require(condition, message: str) -> None:
    if not condition:
        raise UserError(message)


def _validate_one(name: str, config: ConfigDict, first: bool) -> None:
    where = f"{name}: " if name else ""
    get_variant(config.variant)
    _require(config.data.labeled, f"{where}data.labeled is empty: name the labeled images")
    _require(config.data.test, f"{where}data.test is empty: name the labeled images to evaluate on")
    for field in ("scan_blocks", "remat"):
        _require(
            not config.parallel[field] or isinstance(get_variant(config.variant), EfficientNetVariant),
            f"{where}parallel.{field} is for EfficientNets, and variant is {config.variant}",
        )
    _require(config.parallel.shard_state >= 0, f"{where}parallel.shard_state must not be below 0")
    _require(config.parallel.accumulation_steps > 0, f"{where}parallel.accumulation_steps must be above 0")
    choices = {
        "dtype": ("float32", "bfloat16"),
        "crop": ("random_area", "center", "pad4", "none"),
        "train_on": ("both", "pseudo_labels"),
        "pseudo_label": ("soft", "hard"),
        "loss_reduction": ("paper", "official"),
    }
    for field, allowed in choices.items():
        _require(config[field] in allowed, f"{where}{field}={config[field]!r} must be one of {', '.join(allowed)}")
    positive = (
        "labeled_batch_size",
        "train_epochs",
        "base_learning_rate",
        "decay_epochs",
        "temperature",
        "eval_batch_size",
        "label_shard_size",
        "log_every_steps",
        "checkpoint_every_steps",
        "keep_checkpoints",
        "decay_rate",
    )
    for field in positive:
        _require(config[field] > 0, f"{where}{field}={config[field]} must be above 0")
    for field in ("warmup_epochs", "images_per_class", "bn_group_size", "final_base_learning_rate", "weight_decay"):
        _require(config[field] >= 0, f"{where}{field}={config[field]} must not be below 0")
    _require(config.noise.randaugment_ops >= 0, f"{where}noise.randaugment_ops must not be below 0")
    _require(
        config.noise.randaugment_form in ("reference", "pillow"),
        f"{where}noise.randaugment_form={config.noise.randaugment_form!r} must be one of reference, pillow",
    )
    for field in ("resolution", "test_resolution"):
        _require(config[field] is None or config[field] > 0, f"{where}{field}={config[field]} must be above 0")
    if config.final_base_learning_rate:
        _require(
            config.final_base_learning_rate < config.base_learning_rate and config.decay_rate < 1,
            f"{where}final_base_learning_rate must be below base_learning_rate, and decay_rate below 1",
        )
    for field in ("ema_decay", "label_smoothing", "min_confidence"):
        _require(0 <= config[field] < 1, f"{where}{field}={config[field]} must be in [0, 1)")
    for field in ("dropout_rate", "stochastic_depth_rate"):
        rate = config.noise[field]
        _require(rate is None or 0 <= rate < 1, f"{where}noise.{field}={rate} must be in [0, 1)")
    if config.data.unlabeled:
        _require(config.unlabeled_ratio > 0, f"{where}unlabeled_ratio must be above 0 with data.unlabeled")
        _require(
            config.teacher or not first,
            f"{where}data.unlabeled is set, but there is no teacher: set teacher to a model folder",
        )
    else:
        _require(not config.teacher, f"{where}teacher is set, but data.unlabeled is empty: there is nothing to label")
    _validate_method(where, config)
    _require(
        config.init_from != "teacher" or config.teacher or not first,
        f"{where}init_from='teacher', but there is no teacher",
    )
    unknown = [stage for stage in config.stages if stage not in STAGES]
    _require(not unknown, f"{where}unknown stage {unknown and unknown[0]!r}: there are {', '.join(STAGES)}")


def _validate_method(where: str, config: ConfigDict) -> None:
    """Combinations of the method's fields that cannot be."""
    tune, row = config.finetune, get_variant(config.variant)
    has_unlabeled = bool(config.data.unlabeled)
    for field in ("labeled_sample_prob", "unlabeled_fraction", "max_confidence"):
        _require(0 < config[field] <= 1, f"{where}{field}={config[field]} must be in (0, 1]")
    _require(config.max_confidence > config.min_confidence, f"{where}max_confidence must be above min_confidence")
    _require(
        has_unlabeled or config.train_on == "both",
        f"{where}train_on={config.train_on!r} without data.unlabeled: there are no pseudo-labels",
    )
    if config.online_teacher:
        _require(has_unlabeled, f"{where}online_teacher without data.unlabeled: there is nothing to label")
        every = {"min_confidence": 0.0, "max_confidence": 1.0, "images_per_class": 0, "unlabeled_fraction": 1.0}
        for field, value in every.items():
            _require(
                config[field] == value,
                f"{where}online_teacher uses every image, so {field} must be {value}, not {config[field]}",
            )
        _require(not config.noise.teacher, f"{where}online_teacher is not noised: set noise.teacher=False")
    batch = config.labeled_batch_size * config.labeled_sample_prob * config.unlabeled_ratio
    _require(
        not has_unlabeled or abs(batch - round(batch)) < 1e-6,
        f"{where}labeled_batch_size * labeled_sample_prob * unlabeled_ratio = {batch} is not a whole number of images",
    )
    for name, frozen in (("frozen_blocks", config.frozen_blocks), ("finetune.frozen_blocks", tune.frozen_blocks)):
        _require(0 <= frozen <= row.num_blocks, f"{where}{name}={frozen}: {row.name} has {row.num_blocks} blocks")
    _require(
        not config.frozen_blocks or config.init_from,
        f"{where}frozen_blocks={config.frozen_blocks} without init_from would freeze random weights",
    )
    _require(config.schedule_start_epoch >= 0, f"{where}schedule_start_epoch must not be below 0")
    for field in ("epochs", "base_learning_rate"):
        _require(tune[field] >= 0, f"{where}finetune.{field}={tune[field]} must not be below 0")
    _require(
        tune.epochs <= config.train_epochs or tune.base_learning_rate,
        f"{where}finetune.epochs={tune.epochs} is longer than train_epochs: give finetune.base_learning_rate",
    )
    trained_at = config.resolution or row.resolution
    _require(
        tune.resolution is None or tune.resolution >= trained_at,
        f"{where}finetune.resolution={tune.resolution} is below that of training, {trained_at}",
    )


def validate(config: ConfigDict) -> None:
    """Raises UserError for an impossible config, before anything heavy starts."""
    found = iterations(config)
    for number, (name, one) in enumerate(found):
        _validate_one(name, one, first=number == 0)
    # The first iteration of a chain has the ratio of the others, without meaning.
    _require(
        not config.unlabeled_ratio or any(one.data.unlabeled for _, one in found),
        f"unlabeled_ratio={config.unlabeled_ratio} without data.unlabeled: name the unlabeled images, or set "
        "unlabeled_ratio=0 for supervised training",
    )


def claim_workdir(workdir: epath.Path, config: ConfigDict) -> None:
    """Writes the resolved config into the workdir, or checks that it is the one there.

    Raises:
      UserError: it cannot be written, or belongs to another config; names the fields that differ.
    """
    path = workdir / "config.json"
    try:
        check_writable(path)
    except Exception as error:  # buckets raise many kinds
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise UserError(f"{workdir} cannot be written ({reason}): choose another --workdir") from None
    mine = json.loads(json.dumps(flatten(config)))
    if path.exists():
        theirs = read_json(path)
        differ = sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key))
        if differ:
            shown = ", ".join(f"{key} is {theirs.get(key)!r} there and {mine.get(key)!r} here" for key in differ[:4])
            more = f" and {len(differ) - 4} more" if len(differ) > 4 else ""
            raise UserError(
                f"{workdir} belongs to another config ({shown}{more}): choose another --workdir, or delete this one"
            )
    else:
        write_json(path, mine)
