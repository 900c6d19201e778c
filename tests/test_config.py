"""Fields, chains and fingerprints of experiments."""

import importlib
import math
import subprocess
import sys

import pytest

from ns_jax.configs import common, mnist5k
from ns_jax.errors import UserError
from ns_jax.experiment.chain import finetune_config, iteration_names, iterations, only_stages
from ns_jax.experiment.checks import validate
from ns_jax.experiment.fields import FIELDS, LOCKSTEP, RUN_ONLY, unknown_field, value_of
from ns_jax.experiment.fingerprint import fingerprint, flatten, lockstep_fingerprint
from tests import experiments, golden
from tests.conftest import REPO

EXPERIMENTS = experiments.names(REPO / "configs")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_are_valid_and_say_what_they_are(name):
    validate(experiments.load(name))
    text = importlib.import_module(f"ns_jax.configs.{name.partition(':')[0]}").__doc__
    assert f"--config=configs/{name.partition(':')[0]}.py" in text and "--workdir=DIR" in text
    assert "aper" in text and any(word in text for word in ("TPU", "CPU", "GPU"))


def test_defaults_are_as_reviewed():
    """After a deliberate change: python -m tests.golden."""
    assert golden.COMMON.read_text() == golden.common_text()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_are_as_reviewed(name):
    """After a deliberate change: python -m tests.golden."""
    assert golden.path_of(name).read_text() == golden.golden_text(name)


def test_there_is_a_golden_file_of_each_and_no_other():
    paths = {golden.path_of(name) for name in EXPERIMENTS} | {golden.COMMON}
    assert set(golden.FOLDER.iterdir()) == paths


@pytest.mark.parametrize(
    "name",
    [
        "ablation_noise:loud",
        "ablation_ratio:3,large",
        "ablation_larger_student:b7_b0",
        "b0_ns:no_teacher",
        "resnet50:both",
    ],
)
def test_unknown_arguments(name):
    with pytest.raises(ValueError, match="one of"):
        experiments.load(name)


def test_fields_import_neither_jax_nor_tensorflow():
    code = (
        "import sys, ns_jax.command_line, ns_jax.configs.mnist5k as demo; demo.get_config(); "
        "heavy = {'jax', 'flax', 'tensorflow', 'orbax'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], cwd=REPO, check=True)


def test_every_default_obeys_its_own_constraint():
    config = common.get_config()
    for name, field in FIELDS.items():
        assert field.problem(value_of(config, name)) == "", name
        assert field.meaning and field.affects in ("", RUN_ONLY, LOCKSTEP)


# --- Chains --------------------------------------------------------------------------------------------


def test_a_chain_runs_in_the_order_of_its_numbers():
    config = mnist5k.get_config()
    config.chain.iteration_10 = {"train_epochs": 7.0}
    names = [name for name, _ in iterations(config)]
    assert names == ["iteration_0", "iteration_1", "iteration_2", "iteration_3", "iteration_10"]
    assert iterations(config)[-1][1].train_epochs == 7.0 and config.train_epochs != 7.0


def test_a_chain_of_names_runs_in_the_order_given():
    validate(experiments.named_chain("teacher", "student"))
    assert iteration_names(experiments.named_chain("teacher", "student")) == ["teacher", "student"]
    assert iteration_names(experiments.named_chain("student", "teacher")) == ["student", "teacher"]


@pytest.mark.parametrize(
    "order, message",
    [
        ((), "set chain_order, as chain_order=.'student', 'teacher'."),
        (("teacher",), "chain_order is teacher, and the iterations of chain are student, teacher"),
        (("teacher", "teacher", "student"), "they must be the same"),
    ],
)
def test_an_order_that_is_none(order, message):
    with pytest.raises(UserError, match=message):
        validate(experiments.named_chain(*order))


@pytest.mark.parametrize("name", ["report", "a/b", "-", "", "iteration_²"])
def test_iterations_are_folders(name):
    config = mnist5k.get_config("smoke")
    with config.unlocked():
        config.chain = {name: {}}
    with pytest.raises(UserError, match="an iteration cannot be called"):
        validate(config)


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"trian_epochs": 3.0}, "chain.iteration_1: .*trian_epochs, did you mean train_epochs"),
        ({"noise": {"augment_unlabeled": False}}, "chain.iteration_1: .*set augment_unlabeled"),
        ({"crop": "pad4"}, "chain.iteration_1: .*set augment"),
        ({"chain_order": ("a",)}, "of the whole run"),
        ({"train_epochs": "many"}, "chain.iteration_1: .*train_epochs"),
        (3, "chain.iteration_1 is 3"),
    ],
)
def test_impossible_overrides_in_a_chain(overrides, message):
    config = mnist5k.get_config()
    with config.unlocked(), config.ignore_type():
        config.chain.iteration_1 = overrides
    with pytest.raises(UserError, match=message):
        validate(config)


def test_only_stages_are_of_every_iteration():
    config = mnist5k.get_config()
    config.chain.iteration_1.stages = ("evaluate",)
    only_stages(config, ["train"])
    assert all(iteration.stages == ("train",) for _, iteration in iterations(config))
    assert iterations(mnist5k.get_config())[0][1].stages == common.get_config().stages


def test_finetuning_is_a_training_of_its_own():
    config = experiments.load("l2_iter1")
    tuning = finetune_config(config, "somewhere")
    assert (tuning.augment, tuning.teacher, tuning.data.unlabeled) == ((), "", "")
    assert (tuning.init_from, tuning.frozen_blocks) == ("somewhere", 28)
    assert (tuning.resolution, tuning.test_resolution) == (800, 800)
    assert (tuning.train_epochs, tuning.schedule_start_epoch) == (1.5, 348.5)
    assert config.train_epochs == 350.0 and config.augment
    own = experiments.load("ablation_joint:pretrain_finetune")
    tuning = finetune_config(own, "somewhere")
    assert (tuning.base_learning_rate, tuning.warmup_epochs, tuning.schedule_start_epoch) == (0.0016, 0.0, 0.0)
    assert tuning.augment == own.augment and tuning.train_on == "both" and tuning.resolution is None


# --- Fingerprints --------------------------------------------------------------------------------------


def test_how_it_runs_is_not_what_it_is():
    config, other = mnist5k.get_config(), mnist5k.get_config()
    other.log_every_steps, other.stages = 7, ("train",)
    other.chain.iteration_1.stages = ("train",)
    other.evaluations.more = {"classes": ("3", "4")}
    assert fingerprint(config) == fingerprint(other)
    other.seed = 1
    assert fingerprint(config) != fingerprint(other) and flatten(other)["seed"] == 1


def test_what_iterations_there_are_counts():
    fingerprints = {fingerprint(mnist5k.get_config(form)) for form in ("chain", "control", "smoke")}
    longer = mnist5k.get_config()
    longer.chain.iteration_4 = {}
    assert len(fingerprints | {fingerprint(longer)}) == 4
    assert fingerprint(experiments.named_chain("teacher", "student")) != fingerprint(
        experiments.named_chain("student", "teacher")
    )


@pytest.mark.parametrize("field", [field for field in FIELDS.values() if field.name != "chain_order"])
def test_each_field_affects_what_it_says(field):
    config = mnist5k.get_config("control")
    before = fingerprint(config), lockstep_fingerprint(config)
    value = value_of(config, field.name)
    changed = {
        bool: lambda: not value,
        int: lambda: value + 1,
        float: lambda: value + 0.01,
        str: lambda: f"{value}x",
        tuple: lambda: (*value, "x"),
        type(None): lambda: field.default.kind((1,) if field.default.kind is tuple else 1),
    }[type(value)]()
    config.update_from_flattened_dict({field.name: changed})
    is_changed = [
        now != then for now, then in zip((fingerprint(config), lockstep_fingerprint(config)), before, strict=True)
    ]
    assert is_changed == {"": [True, True], RUN_ONLY: [False, False], LOCKSTEP: [False, True]}[field.affects]


# --- Checks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"images_per_class": -5}, "images_per_class=-5 must be at least 0"),
        ({"warmup_epochs": -1.0}, "must be at least 0"),
        ({"resolution": 0}, "resolution=0 must be at least 1"),
        ({"final_base_learning_rate": 1.0}, "must be below base_learning_rate"),
        ({"teacher": "somewhere"}, "there is nothing to label"),
        ({"train_on": "pseudo_labels"}, "there are no pseudo-labels"),
        ({"finetune": {"epochs": 1.0, "resolution": 20}}, "finetune.resolution=20 is below that of training, 28"),
        ({"frozen_blocks": 2}, "without init_from"),
        ({"frozen_blocks": 9, "init_from": "x"}, "frozen_blocks=9: efficientnet-small has 5 blocks"),
        ({"finetune": {"epochs": 1.0, "frozen_blocks": 6}}, "finetune.frozen_blocks=6"),
        ({"labeled_sample_prob": 0.0}, "labeled_sample_prob=0.0 must be above 0 and at most 1"),
        ({"max_confidence": 0.2}, "above min_confidence"),
        ({"init_from": "teacher"}, "there is no teacher"),
        ({"finetune": {"epochs": 1e4}}, "longer than train_epochs"),
        ({"unlabeled_ratio": 14}, "unlabeled_ratio=14 without data.unlabeled"),
        ({"data": {"unlabeled": "x"}, "teacher": "y"}, "must be above 0 with data.unlabeled"),
        ({"data": {"unlabeled": "x"}, "unlabeled_ratio": 1}, "there is no teacher: set teacher"),
        ({"data": {"labeled": ""}}, "data.labeled is empty"),
        ({"data": {"test": ""}}, "data.test is empty"),
        (
            {"data": {"unlabeled": "x"}, "teacher": "y", "unlabeled_ratio": 3, "labeled_sample_prob": 0.33},
            "whole number",
        ),
        ({"variant": "efficientnet-bo"}, "efficientnet-b0"),
        ({"variant": "resnet-50", "parallel": {"scan_blocks": True}}, "parallel.scan_blocks: model resnet-50"),
        ({"pseudo_label": "firm"}, "pseudo_label='firm' must be one of soft, hard"),
        ({"dtype": "float16"}, "one of bfloat16, float32"),
        ({"online_teacher": True}, "there is nothing to label"),
        ({"online_ema": True}, "online_ema=True is of an online teacher: set online_teacher=True"),
        ({"stages": ()}, "must name at least one"),
        ({"augment": ("flip", 3)}, "augment=.'flip', 3. must be a tuple of names"),
        ({"finetune": {"augment": (True,)}}, "finetune.augment=.True,. must be a tuple of names"),
        ({"augment_unlabeled": ("",)}, "tuple of names"),
        ({"noise": {"randaugment_set": ""}}, "must name something"),
        ({"data": {"labeled": "folder:a\0b"}}, "must be text"),
    ],
)
def test_impossible_configs(changes, message):
    config = mnist5k.get_config("control")
    config.update(changes)
    with pytest.raises(UserError, match=message):
        validate(config)


FLOATS = [
    name
    for name, field in FIELDS.items()
    if isinstance(field.default, float) or getattr(field.default, "kind", 0) is float
]


@pytest.mark.parametrize("name", FLOATS)
def test_numbers_are_finite(name):
    for value in (math.nan, math.inf, -math.inf):
        config = mnist5k.get_config("control")
        config.update_from_flattened_dict({name: value})
        with pytest.raises(UserError, match=f"{name}=.* must be a finite number"):
            validate(config)


@pytest.mark.parametrize(
    "name, values",
    [
        ("seed", (-1, 2**31, 2**63)),
        ("train_epochs", (0.0, 1e308)),
        ("resolution", (100_000, 10**23)),
        ("test_resolution", (4097,)),
        ("cutout_size", (-1, 0)),
        ("images_per_class", (2**63,)),
        ("labeled_batch_size", (0, 10**400)),
        ("eval_batch_size", (0, 10**400)),
        ("data.max_broken_fraction", (-1.0, 1.0)),
        ("noise.randaugment_ops", (-1, 1_000_000)),
        ("noise.randaugment_magnitude", (-1.0, 1e6)),
        ("decay_rate", (0.0, 1.1)),
        ("rmsprop_decay", (1.0,)),
        ("temperature", (0.0, 1e9)),
        ("keep_checkpoints", (0,)),
        ("parallel.accumulation_steps", (0,)),
        ("profile_steps", (-1,)),
    ],
)
def test_numbers_out_of_range(name, values):
    for value in values:
        config = mnist5k.get_config("control")
        config.update_from_flattened_dict({name: value})
        with pytest.raises(UserError, match=f"^{name}=.{{1,60}} must be") as caught:
            validate(config)
        assert len(str(caught.value)) < 150


def test_the_ends_of_intervals():
    config = mnist5k.get_config("control")
    config.update({"seed": 2**31 - 1, "decay_rate": 1.0, "ema_decay": 0.0, "noise": {"dropout_rate": 0.0}})
    validate(config)
    config.ema_decay = 1.0
    with pytest.raises(UserError, match="ema_decay=1.0 must be at least 0 and below 1"):
        validate(config)


def test_evaluations_leave_out_what_is_default():
    config = mnist5k.get_config()
    config.evaluations.hard = {"classes": ("3", "5")}
    config.chain.iteration_2.evaluations = {"again": {}}
    validate(config)
    resolved = dict(iterations(config))
    assert sorted(resolved["iteration_1"].evaluations) == ["hard", "test"]
    assert resolved["iteration_2"].evaluations.again.to_dict() == {"type": "classification", "data": "", "classes": ()}
    assert resolved["iteration_1"].evaluations.hard.classes == ("3", "5")


@pytest.mark.parametrize(
    "name, evaluation, message",
    [
        ("a/b", {}, "no name for a file"),
        ("more", {"clases": ("3",)}, "clases"),
        ("more", {"classes": ("3", "3")}, "must not name anything twice"),
        ("more", {"type": ""}, "must name something"),
        ("more", "classification", "must be a dictionary"),
    ],
)
def test_impossible_evaluations(name, evaluation, message):
    config = mnist5k.get_config("control")
    config.evaluations[name] = evaluation
    with pytest.raises(UserError, match=message):
        validate(config)


def test_an_evaluation_from_elsewhere_may_have_options_of_its_own():
    config = mnist5k.get_config("control")
    config.evaluations.noisy = {"type": "my.module:evaluate", "severity": 3}
    validate(config)
    assert iterations(config)[0][1].evaluations.noisy.severity == 3


@pytest.mark.parametrize(
    "field, words",
    [
        ("trian_epochs", "did you mean train_epochs"),
        ("noise.dropout", "did you mean noise.dropout_rate"),
        ("magnitude", "fields.py"),
        ("crop", "set augment"),
        ("flip", "'flip' in augment"),
        ("noise.randaugment_exclude", "set noise.randaugment_set"),
        ("noise.augment_unlabeled", "set augment_unlabeled"),
    ],
)
def test_unknown_fields(field, words):
    assert words in unknown_field(field)


# --- Workdirs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "field, value",
    [
        ("base_learning_rate", 1e300),
        ("base_learning_rate", 1e-320),
        ("rmsprop_epsilon", 1e-320),
        ("weight_decay", 1e300),
        ("logit_adjustment", 1e308),
        ("decay_epochs", 1e-320),
        ("layer_decay", 1e-320),
    ],
)
def test_numbers_that_float32_does_not_hold_are_refused(field, value):
    config = mnist5k.get_config("smoke")
    config[field] = value
    with pytest.raises(UserError) as caught:
        validate(config)
    assert f"{field}={value} must be at " in str(caught.value)
