"""Every field of an experiment, in one table: default, what it may hold, and what it means.

An experiment (configs/) overrides what differs. Durations carry their unit. An epoch is one pass over the *labeled*
images, as in the paper. `Unset(float)` is None: what the model's architecture has. Checks of several fields are in
checks.py.
"""

import dataclasses
import difflib
from typing import Any

from ml_collections import ConfigDict, config_dict

from ns_jax.experiment.constraints import (
    Constraint,
    boolean,
    distinct_names,
    name,
    names,
    number,
    one_of,
    some_names,
    text,
)
from ns_jax.experiment.evaluations import EVALUATION

# What a field affects, where it is not the result of a run.
RUN_ONLY = "run only"  # how a run goes
LOCKSTEP = "lockstep"  # how a run goes, and all processes must have it alike: they wait for each other in it


@dataclasses.dataclass(frozen=True)
class Unset:
    """The default None of a field that otherwise holds a `kind`."""

    kind: type


@dataclasses.dataclass(frozen=True)
class Field:
    """One field of a config.

    Attributes:
      name: with the sections that it is in, as 'noise.dropout_rate'.
      default: its value, or `Unset(type)`.
      constraint: what is wrong with a value, see constraints.py.
      meaning: one or two lines.
      affects: '' where it decides the result of a run, else RUN_ONLY or LOCKSTEP.
    """

    name: str
    default: Any
    constraint: Constraint
    meaning: str
    affects: str = ""

    def problem(self, value: Any) -> str:
        """Returns what is wrong with a value, or ''."""
        return "" if value is None and isinstance(self.default, Unset) else self.constraint(value)


SEED = number("[0, 2147483647]")
POSITIVE = number("[1e-30, 1e6]")  # float32 holds more than these, and what is computed of them
NOT_NEGATIVE = number("[0, 1e6]")
RATE = number("[0, 1)")
SHARE = number("(0, 1]")
EPOCHS = number("[0, 1e6]")
SOME_EPOCHS = number("(0, 1e6]")
DECAY_EPOCHS = number("[1e-6, 1e6]")
LAYER_DECAY = number("[1e-6, 1]")
PIXELS = number("[1, 4096]")
BLOCKS = number("[0, 10000]")
DEVICES = number("[0, 1000000]")
BN_GROUP = number("[-1, 1000000]")
BATCH = number("[1, 1000000]")
RATIO = number("[0, 10000]")
OPS = number("[0, 100]")
MAGNITUDE = number("[0, 1000]")
TEMPERATURE = number("[0.01, 100]")
SHARD = number("[1, 100000000]")
COUNT = number("[0, 1000000000]")
STEPS = number("[1, 1000000000]")
MINUTES = number("(0, 1e6]")
WINDOW = number("[2, 100000000]")
SECONDS = number("[1, 1e7]")
KEPT = number("[1, 10000]")
PROFILED = number("[0, 10000]")
PARTS = number("[1, 10000]")
MARGIN = number("[0, 4096]")
FOLDS = number("[0, 20]")

TABLE = (
    # name                      default     constraint    meaning (and what it affects, if not the result)
    # --- Run ---------------------------------------------------------------------------------------
    ("seed",                    0,          SEED,         "of all randomness"),
    ("paper_row",               "",         text,         "'TABLE/ROW' of the paper: what is reproduced", RUN_ONLY),
    ("stages",                  ("label", "select", "train", "finetune", "evaluate"), some_names,
                                                          "of an iteration in order: names of run/stages.py or "
                                                          "import paths", LOCKSTEP),
    ("only_stages",             (),         names,        "set by --stages: only these, this time", LOCKSTEP),
    # --- Model -------------------------------------------------------------------------------------
    ("variant",                 "efficientnet-b0", name,  "name of models/registry.py, or package.module:factory"),
    ("dtype",                   "bfloat16", one_of("bfloat16", "float32"),
                                                          "of the computation; parameters are float32"),
    ("prediction_dtype",        Unset(str), one_of("bfloat16", "float32"),
                                                          "of labelling and evaluation; None: that in which the "
                                                          "teacher was trained, and dtype"),
    ("fold_batch_norm",         False,      boolean,      "labelling folds batch norm into the convolutions: faster on "
                                                          "CPU, the same to round-off"),
    ("inference_engine",        "jax",      one_of("jax", "onnxruntime", "openvino"),
                                                          "that labels; others than jax are for CPUs, and give the "
                                                          "same to round-off"),
    ("init_from",               "",         text,         "start of training: '' (random), 'teacher', or any model "
                                                          "that ns_jax.load opens, as 'efficientnet-lite0'; the head "
                                                          "is new where the classes are others"),
    ("frozen_blocks",           0,          BLOCKS,       "the stem and so many blocks keep what they started from; "
                                                          "0: all is trained"),
    ("layer_decay",             1.0,        LAYER_DECAY,  "< 1: the learning rate is multiplied by it with each block "
                                                          "that lies between a layer and the head"),
    ("head_epochs",             0.0,        EPOCHS,       "> 0: for so long only the head is trained, then all of it"),
    ("head_init",               "classes",  one_of("classes", "inputs"),
                                                          "a fresh classifier is uniform in +-1/sqrt(classes), the "
                                                          "official form, or +-1/sqrt(features): for few classes"),
    ("bn_momentum",             Unset(float), RATE,       "of batch norm's moving averages; None: the model's own, "
                                                          "0.99, which takes hundreds of steps"),
    ("bn_group_size",           0,          BN_GROUP,     "devices that share batch norm statistics; 0: all of them; "
                                                          "-1: the official groups, see run/settings.py"),
    # --- Data: a source is mnist5k:SPLIT, folder:PATH, tfds:NAME/SPLIT or package.module:function:REST
    ("data.labeled",            "",         text,         "images to train on"),
    ("data.unlabeled",          "",         text,         "images to pseudo-label; '': supervised training"),
    ("data.test",               "",         text,         "images to evaluate on"),
    ("data.validation",         "",         text,         "labeled images of their own to validate on, see Validation"),
    ("data.dir",                "",         text,         "where TFDS keeps its data; '': its default", RUN_ONLY),
    ("data.exclude",            "",         text,         "file of python -m ns_jax.deduplicate: the unlabeled images "
                                                          "that it names are not used; '': all are"),
    ("data.max_broken_fraction", 0.0,       RATE,         "undecodable images that may be skipped (folders)"),
    ("data.order",              "global",   one_of("global", "lanes"),
                                                          "in which unlabeled images are drawn: anywhere, or so that "
                                                          "shards far away are read in sequence (data/order.py)"),
    ("data.window",             10_000,     WINDOW,       "images that a lane shuffles together; a host has so many of "
                                                          "each of its lanes in memory"),
    # --- Preprocessing -----------------------------------------------------------------------------
    ("resolution",              Unset(int), PIXELS,       "of training, pixels"),
    ("test_resolution",         Unset(int), PIXELS,       "of labelling and evaluation, pixels"),
    ("crop_padding",            Unset(int), MARGIN,       "the centre crop is resolution / (resolution + crop_padding) "
                                                          "of the shorter side; 0: all; None: the model's own"),
    ("augment",                 ("random_area", "flip", "randaugment"), names,
                                                          "operations of training images in order: names of data/ops "
                                                          "or import paths; (): the clean centre crop"),
    ("augment_unlabeled",       Unset(tuple), names,      "of pseudo-labeled images; None: as augment"),
    ("crop_min_area",           0.08,       SHARE,        "smallest share of the area that 'random_area' takes"),
    ("cutout_size",             16,         PIXELS,       "side of the square of operation 'cutout', pixels"),
    # --- Noise of the student ----------------------------------------------------------------------
    ("noise.dropout_rate",      Unset(float), RATE,       "before the classifier"),
    ("noise.stochastic_depth_rate", 0.2,    RATE,         "drop rate approached at the last block (survival 0.8)"),
    ("noise.randaugment_ops",   2,          OPS,          "of operation 'randaugment': how many an image"),
    ("noise.randaugment_magnitude", 27.0,   MAGNITUDE,    "10 is the nominal maximum; beyond it extrapolates"),
    ("noise.randaugment_set",   "official", name,         "operations to draw from: name of a tuple, or "
                                                          "package.module:NAME"),
    ("noise.randaugment_form",  "reference", one_of("reference", "pillow"),
                                                          "the official code, bug for bug, or Pillow's results"),
    ("noise.model_noise_unlabeled", True,   boolean,      "False: no dropout and stochastic depth on pseudo-labeled "
                                                          "images"),
    ("noise.teacher",           False,      boolean,      "True: a noised teacher labels noised images (ablation)"),
    # --- Training ----------------------------------------------------------------------------------
    ("labeled_batch_size",      2048,       BATCH,        "images per step, over all devices"),
    ("unlabeled_ratio",         0,          RATIO,        "unlabeled images per labeled image in a step; 0 without "
                                                          "data.unlabeled"),
    ("train_on",                "both",     one_of("both", "pseudo_labels"),
                                                          "pseudo_labels alone: to be fine-tuned on labeled images"),
    ("labeled_sample_prob",     1.0,        SHARE,        "share of the labeled batch that counts, where devices "
                                                          "outnumber it"),
    ("train_epochs",            350.0,      SOME_EPOCHS,  "passes over the labeled images"),
    ("schedule_start_epoch",    0.0,        EPOCHS,       "> 0 leaves out the beginning of the schedule"),
    ("base_learning_rate",      0.016,      POSITIVE,     "per 256 labeled images: 0.128 at 2048"),
    ("warmup_epochs",           5.0,        EPOCHS,       "linear"),
    ("decay_epochs",            2.4,        DECAY_EPOCHS, "staircase: learning rate x decay_rate every so many "
                                                          "epochs"),
    ("decay_rate",              0.97,       SHARE,        "see decay_epochs"),
    ("final_base_learning_rate", 0.0,       NOT_NEGATIVE, "> 0 replaces decay_rate: end of the schedule, per 256"),
    ("weight_decay",            1e-5,       NOT_NEGATIVE, "L2 in the loss, on everything that is not batch norm"),
    ("rmsprop_decay",           0.9,        RATE,         "of the mean squared gradient"),
    ("rmsprop_momentum",        0.9,        RATE,         "of the update"),
    ("rmsprop_epsilon",         1e-3,       POSITIVE,     "inside the root"),
    ("ema_decay",               0.9999,     RATE,         "warmed up: min(decay, (1 + step) / (10 + step))"),
    # --- Loss --------------------------------------------------------------------------------------
    ("label_smoothing",         0.1,        RATE,         "of labels and of hard pseudo-labels"),
    ("pseudo_label",            "soft",     one_of("soft", "hard"), "the teacher's probabilities, or their maximum"),
    ("temperature",             1.0,        TEMPERATURE,  "of soft pseudo-labels: probs ** (1 / T), normalised"),
    ("loss_reduction",          "paper",    one_of("paper", "official"),
                                                          "mean over both batches, or labeled + ratio * unlabeled"),
    # --- Pseudo-labels -----------------------------------------------------------------------------
    ("teacher",                 "",         text,         "folder of the teacher's model; a chain fills it in by "
                                                          "itself"),
    ("online_teacher",          False,      boolean,      "True: the teacher labels each batch inside the step (more "
                                                          "arithmetic, nothing stored); every image is used, or "
                                                          "those of selection_from"),
    ("online_ema",              False,      boolean,      "True: the online teacher is the EMA of the student itself; "
                                                          "with init_from='teacher' it begins as the teacher"),
    ("online_augment",          (),         names,        "operations on the images that an online teacher "
                                                          "labels, as ('pad4', 'flip'); (): the clean centre crop"),
    ("online_min_confidence",   0.0,        RATE,         "labels of an online teacher that are not as sure do "
                                                          "not count in the loss"),
    ("pseudo_label_weight",     "equal",    one_of("equal", "confidence"),
                                                          "of each pseudo-labeled image in the loss: 1, or the "
                                                          "teacher's confidence"),
    ("eval_batch_size",         1024,       BATCH,        "of labelling and evaluation, over all devices"),
    ("label_shard_size",        10_000,     SHARD,        "images per pseudo-label file"),
    ("label_top_k",             0,          COUNT,        "probabilities kept of each image, the others spread evenly; "
                                                          "0: all, as float16"),
    ("selection",               "confidence", name,       "rule: name of pseudo_labels/rules.py, or import path"),
    ("min_confidence",          0.3,        RATE,         "keep pseudo-labels whose score is above this"),
    ("max_confidence",          1.0,        SHARE,        "and at most this; 1: no limit"),
    ("images_per_class",        130_000,    COUNT,        "keep the most confident, duplicate up to it; 0: no "
                                                          "balancing"),
    ("unlabeled_fraction",      1.0,        SHARE,        "share of the selected images that is used, drawn at random "
                                                          "after filter and balance"),
    ("selection_from",          "",         text,         "folder of a run, or name of an earlier iteration: its "
                                                          "selection is kept and its images are labeled anew; '': each "
                                                          "teacher selects by its own labels"),
    ("balance",                 "equal",    one_of("equal", "prior"),
                                                          "images_per_class of every class, or on average, each class "
                                                          "in proportion to the teacher's mean probability"),
    ("min_images_of_class",     0,          COUNT,        "selected images that every class must have, else the run "
                                                          "stops"),
    # --- Validation: images that no iteration trains on say which one to keep, and more. Of the labeled ones, where
    # --- data.validation names no others.
    ("validation_fraction",     0.0,        RATE,         "> 0: such a part of the labeled images, of each class"),
    ("validation_folds",        0,          FOLDS,        "> 1: cross-validation: the chain is also trained without "
                                                          "each of so many parts"),
    ("calibrate",               False,      boolean,      "True: the teacher's logits are divided by the temperature "
                                                          "that fits validation before they become pseudo-labels"),
    ("min_precision",           0.0,        RATE,         "> 0 raises min_confidence to where such a share of the "
                                                          "teacher's answers on validation above it is right"),
    # --- Fine-tuning after training (FixRes), on labeled images only -------------------------------
    ("finetune.epochs",         0.0,        EPOCHS,       "0: none"),
    ("finetune.resolution",     Unset(int), PIXELS,       "not below that of training; of the result too"),
    ("finetune.augment",        (),         names,        "as augment"),
    ("finetune.frozen_blocks",  0,          BLOCKS,       "as frozen_blocks"),
    ("finetune.base_learning_rate", 0.0,    NOT_NEGATIVE, "> 0: a schedule of its own; 0: the end of the one before"),
    # --- Images as people have them ----------------------------------------------------------------
    ("data.exif_orientation",   False,      boolean,      "True: images are turned first as their EXIF data say, also "
                                                          "by the trained model"),
    ("data.corrections",        "",         text,         "table (path, label) of labels that a person has corrected; "
                                                          "'': none"),
    ("class_sampling",          "natural",  one_of("natural", "balanced"),
                                                          "how often labeled images are drawn: all alike, or each "
                                                          "class as often as the largest"),
    ("logit_adjustment",        0.0,        NOT_NEGATIVE, "of labeled images: logits + so much * log prior of the "
                                                          "classes (Menon et al. 2021); 0: none"),
    # --- Running -----------------------------------------------------------------------------------
    ("log_every_steps",         100,        STEPS,        "of training", RUN_ONLY),
    ("checkpoint_every_steps",  1000,       STEPS,        "of training", LOCKSTEP),
    ("checkpoint_every_minutes", 10.0,      MINUTES,      "and when the last one is so old", LOCKSTEP),
    ("keep_checkpoints",        2,          KEPT,         "the newest so many", LOCKSTEP),
    ("compilation_cache_dir",   "",         text,         "'': WORKDIR/compilation_cache", RUN_ONLY),
    ("profile_steps",           0,          PROFILED,     "> 0: a profiler trace of so many training steps "
                                                          "in logs/", LOCKSTEP),
    # --- Several hosts: how long they wait for each other, in seconds, before the run ends on all of them with a line
    # --- that names those who are missing
    ("timeouts.join_seconds",   300,        SECONDS,      "until all have started", RUN_ONLY),
    ("timeouts.silence_seconds", 60,        SECONDS,      "for any sign of life of a host", RUN_ONLY),
    ("timeouts.barrier_seconds", 1800,      SECONDS,      "at a barrier, for the slowest host", RUN_ONLY),
    ("timeouts.process_zero_seconds", 172800, SECONDS,    "while process 0 works alone, as in selection", RUN_ONLY),
    ("timeouts.report_seconds", 900,        SECONDS,      "for the report; a run ends well without it", RUN_ONLY),
    ("timeouts.shutdown_seconds", 300,      SECONDS,      "until all have ended", RUN_ONLY),
    # --- Large models and many devices -------------------------------------------------------------
    ("parallel.scan_blocks",    False,      boolean,      "equal blocks as a loop: L2 compiles in minutes; noise is "
                                                          "drawn differently"),
    ("parallel.remat",          False,      boolean,      "keep each block's input only, compute the rest "
                                                          "again in the backward pass", LOCKSTEP),
    ("parallel.shard_state",    1,          DEVICES,      "devices that share one copy of parameters, "
                                                          "optimiser and EMA; 0: all of a slice", LOCKSTEP),
    ("parallel.accumulation_steps", 1,      PARTS,        "parts of a batch, one after the other, each with batch "
                                                          "norm of its own"),
    # --- Chain: `chain` holds the overrides of each iteration; its teacher is the model of the one before
    ("chain_order",             (),         distinct_names,
                                                          "names in `chain` in order; (): by the numbers they end in"),
)  # fmt: skip

FIELDS = {row[0]: Field(*row) for row in TABLE}
SECTIONS = {field.partition(".")[0] for field in FIELDS if "." in field}

# Fields of version 0.1 that are gone, and what does the same.
REPLACED = {
    "crop": "augment, a tuple of operations, as ('random_area', 'flip', 'randaugment')",
    "flip": "'flip' in augment, a tuple of operations, as ('random_area', 'flip', 'randaugment')",
    "noise.randaugment_exclude": "noise.randaugment_set, the name of a tuple of operations (as 'digits'), or its "
    "import path",
    "noise.augment_unlabeled": "augment_unlabeled, a tuple of operations: () instead of False",
}


def defaults() -> ConfigDict:
    """Returns a locked config with every default: the paper's recipe (ImageNet) without a data set.

    `chain` and `evaluations` are open for entries, as `c.chain.iteration_1 = {"train_epochs": 700.0}`.
    """
    config = ConfigDict()
    for field in FIELDS.values():
        section, _, leaf = field.name.rpartition(".")
        if section and section not in config:
            config[section] = ConfigDict()
        holder = config[section] if section else config
        is_unset = isinstance(field.default, Unset)
        holder[leaf] = config_dict.placeholder(field.default.kind) if is_unset else field.default
    config.evaluations = {"test": {key: default for key, (default, _, _) in EVALUATION.items()}}
    config.chain = ConfigDict()
    config.lock()
    config.chain.unlock()
    config.evaluations.unlock()
    return config


def value_of(config: ConfigDict, field: str) -> Any:
    """Returns the value of a field by its full name, as 'noise.dropout_rate'."""
    for part in field.split("."):
        config = config[part]
    return config


def unknown_field(field: str) -> str:
    """Returns what to say of a field that does not exist: what replaced it, or the nearest that does."""
    if field in REPLACED:
        return f"{field} is no longer a field: set {REPLACED[field]}"
    known = [*FIELDS, *SECTIONS, "chain", "evaluations"]
    leaves = {name.rpartition(".")[2]: name for name in known}
    near = difflib.get_close_matches(field, known, n=1) or [
        leaves[leaf] for leaf in difflib.get_close_matches(field.rpartition(".")[2], leaves, n=1)
    ]
    hint = f", did you mean {near[0]}?" if near else ""
    return f"there is no field {field}{hint} (ns_jax/experiment/fields.py has the table)"
