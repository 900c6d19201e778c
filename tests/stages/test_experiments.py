"""Every experiment, shrunk to a few images and two steps of each of its stages."""

import json

import pytest
from etils import epath

from ns_jax.errors import UserError
from ns_jax.experiment.chain import iterations
from ns_jax.experiment.checks import validate
from ns_jax.interop import formats
from ns_jax.pseudo_labels.store import Selection
from ns_jax.report.tables import find_results
from ns_jax.run import orchestrate
from tests import experiments
from tests.conftest import REPO
from tests.data.sources.test_sources import write_image
from tests.interop.weights import random_artifact
from tests.tiny_model import TINY

pytestmark = pytest.mark.usefixtures("quick_compilation")
# The suite has time for one, which has every stage; the others are slow tests.
IN_THE_SUITE = ("l2_iter3",)


def shrink(config, folder):
    """Eight labeled and eight unlabeled images of two classes, 32 px, a tiny model, two steps a stage."""
    images = {name: f"folder:{folder / name}" for name in ("labeled", "unlabeled", "test")}
    with config.unlocked():
        config.variant, config.dtype, config.resolution = TINY, "float32", 32
        config.test_resolution = None
        config.data.labeled, config.data.test = images["labeled"], images["test"]
        if config.data.unlabeled:
            config.data.unlabeled = images["unlabeled"]
        config.selection_from = ""  # of a run that is not there; tests/stages/test_selection_from.py
        if config.teacher:
            config.teacher = str(folder / "teacher")
        if config.init_from and config.init_from != "teacher":
            config.init_from = str(folder / "teacher")
        config.labeled_batch_size = config.eval_batch_size = 8
        config.min_confidence, config.images_per_class = 0.0, min(config.images_per_class, 8)
        config.max_confidence, config.unlabeled_fraction = 1.0, max(config.unlabeled_fraction, 0.5)
        config.train_epochs, config.warmup_epochs, config.schedule_start_epoch = 2.0, 1.0, 0.0
        config.frozen_blocks = min(config.frozen_blocks, 1)
        if config.finetune.epochs:
            config.finetune.update({"epochs": 2.0, "frozen_blocks": min(config.finetune.frozen_blocks, 1)})
            config.finetune.resolution = config.finetune.resolution and 40
        config.unlabeled_ratio = min(config.unlabeled_ratio, 2)
        config.parallel.shard_state = min(config.parallel.shard_state, 8)
        for overrides in config.chain.values():
            for field in (
                "min_confidence",
                "max_confidence",
                "train_epochs",
                "unlabeled_fraction",
                "unlabeled_ratio",
                "variant",
                "labeled_batch_size",
                "base_learning_rate",
            ):
                if field in overrides:
                    del overrides[field]
            if "images_per_class" in overrides:
                overrides["images_per_class"] = min(overrides["images_per_class"], 8)  # 0 means without balance
            if "finetune" in overrides:
                overrides["finetune"]["epochs"] = 2.0
    return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("images")
    for part in ("labeled", "test"):
        for number in range(8):
            write_image(path / part / ("cat", "dog")[number % 2] / f"{number}.png", number)
    for number in range(8):
        write_image(path / "unlabeled" / f"{number}.png", 20 + number)
    teacher = random_artifact(TINY, 2)
    teacher.metadata["class_names"] = ["cat", "dog"]
    formats.write(epath.Path(path / "teacher"), teacher, "artifact")
    return path


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in IN_THE_SUITE else [pytest.mark.slow])
        for name in experiments.names(REPO / "configs")
    ],
)
def test_two_steps_of_every_stage(name, folder, tmp_path):
    config = shrink(experiments.load(name), folder)
    validate(config)
    orchestrate.run(config, epath.Path(tmp_path))
    if "evaluate" not in config.stages:
        manifest = Selection(epath.Path(tmp_path / "selection")).manifest()
        assert config.stages == ("label", "select") and sum(manifest["per_class_after"]) >= 8
        return
    rows = {own_config.paper_row for _, own_config in iterations(config)}
    assert find_results(str(tmp_path)).keys() == rows
    for part, own_config in iterations(config):
        evaluation = json.loads((tmp_path / part / "evaluations/test.json").read_text())
        assert evaluation["count"] == 8 and evaluation["steps"] == 2
        if own_config.finetune.epochs:
            metadata = json.loads((tmp_path / part / "finetune" / "model" / "model.json").read_text())
            assert metadata["resolution"] == (own_config.finetune.resolution or 28)


@pytest.mark.slow  # the step itself is compared in tests/training
def test_online_teacher(folder, tmp_path):
    config = shrink(experiments.load("b0_ns:same_teacher"), folder)
    config.online_teacher, config.images_per_class = True, 0
    validate(config)
    orchestrate.run(config, epath.Path(tmp_path))
    evaluation = json.loads((tmp_path / "evaluations/test.json").read_text())
    assert evaluation["count"] == 8 and evaluation["unlabeled_ratio"] == 1 and evaluation["pseudo_labels"] == 0
    assert not (tmp_path / "labels").exists()
    assert json.loads((tmp_path / "model" / "model.json").read_text())["teacher"]
    config.min_confidence = 0.5
    with pytest.raises(UserError, match="min_confidence must be 0.0, not 0.5"):
        validate(config)
