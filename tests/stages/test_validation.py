"""Validation: images that no iteration trains on set the temperature, the threshold and the model that is kept."""

import json

import numpy as np
import pytest
from etils import epath

import ns_jax
from ns_jax.configs import common, mnist5k
from ns_jax.errors import UserError
from ns_jax.evaluators.metrics import apply_temperature
from ns_jax.evaluators.predictions import Predictions, read_predictions, write_predictions
from ns_jax.experiment.checks import validate
from ns_jax.pseudo_labels.store import LabelStore
from ns_jax.run import orchestrate
from ns_jax.run.choice import choose_iteration
from ns_jax.run.paths import IterationPaths
from ns_jax.run.validation import pool_folds
from tests.tiny_model import TINY

pytestmark = pytest.mark.usefixtures("quick_compilation")


def chain(**fields):
    """A teacher and a student of a few steps, and a supervised control."""
    config = mnist5k.get_config("smoke")
    config.variant, config.calibrate = TINY, True
    config.chain.control = {"data": {"unlabeled": ""}}
    config.chain_order = ("iteration_0", "iteration_1", "control")
    config.update(fields)
    validate(config)
    return config


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    """A run that is validated on a fifth of its labeled images, without a control."""
    workdir = epath.Path(tmp_path_factory.mktemp("held_out"))
    config = chain(validation_fraction=0.2, min_precision=0.05)
    del config.chain.control
    config.chain_order = ()
    orchestrate.run(config, workdir)
    return workdir


def read(path) -> dict:
    return json.loads(path.read_text())


def some_predictions(names, seed: int) -> Predictions:
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.ones(3), len(names)).astype(np.float32)
    return Predictions(np.array(names), rng.integers(0, 3, len(names), np.int32), probs, ("a", "b", "c"))


def test_answers_of_all_folds_are_one_result(tmp_path):
    folds = [IterationPaths(epath.Path(tmp_path / k / "iteration_0"), epath.Path(tmp_path / k)) for k in "01"]
    parts = [some_predictions([b"x", b"y", b"z"], 0), some_predictions([b"u", b"v"], 1)]
    for paths, part in zip(folds, parts, strict=True):
        with pytest.raises(UserError, match="validation.npz is missing: run again without --stages"):
            pool_folds(folds)
        paths.predictions("validation").parent.mkdir(parents=True)
        write_predictions(paths.predictions("validation"), part)
    pooled = pool_folds(folds)
    assert pooled["count"] == 5 and pooled["folds"] == 2
    assert pooled["predictions"].ids.tolist() == [b"x", b"y", b"z", b"u", b"v"]
    right = sum(int((part.probs.argmax(1) == part.labels).sum()) for part in parts)
    assert pooled["correct"] == right and pooled["top1"] == right / 5
    logs = [-np.log(part.probs[np.arange(len(part.labels)), part.labels]) for part in parts]
    assert pooled["cross_entropy"] == pytest.approx(np.concatenate(logs).mean(), rel=1e-6)


@pytest.mark.slow  # seven trainings
def test_every_labeled_image_is_answered_by_a_model_that_has_not_seen_it(tmp_path):
    """A run with two-fold cross-validation, without a test set."""
    folds = epath.Path(tmp_path)
    orchestrate.run(chain(validation_folds=2, data={"test": ""}), folds)
    for name in ("iteration_0", "iteration_1"):
        pooled = read_predictions(folds / name / "evaluations" / "validation.npz")
        parts = [read_predictions(folds / "folds" / k / name / "evaluations" / "validation.npz") for k in "01"]
        assert sorted(pooled.ids.tolist()) == sorted(name for part in parts for name in part.ids.tolist())
        assert len(set(pooled.ids.tolist())) == 100
        for part in parts:
            assert np.ptp(np.bincount(part.labels, minlength=10)) <= 1
            steps = 12 * (100 - len(part.labels)) / 100  # an epoch has so many images less
            assert read(folds / "folds/0" / name / "model/model.json")["steps"] == pytest.approx(steps, abs=0.7)
        result = read(folds / name / "evaluations" / "validation.json")
        assert result["count"] == 100 and result["folds"] == 2 and 0.1 <= result["temperature"] <= 10
        assert result["cross_entropy_calibrated"] <= result["cross_entropy"] + 1e-6
    assert not (folds / "control" / "evaluations" / "validation.json").exists()
    assert not (folds / "folds" / "0" / "control").exists()
    assert (folds / "control" / "model").exists()


def test_the_teacher_is_calibrated(held_out):
    temperature = read(held_out / "iteration_0" / "evaluations" / "validation.json")["temperature"]
    calibrated = LabelStore(held_out / "iteration_1" / "labels")
    assert calibrated.manifest()["temperature"] == temperature != 1
    teacher = ns_jax.load(held_out / "iteration_0", TINY)
    from ns_jax.data.sources.registry import open_source

    source, rows = open_source("mnist5k:unlabeled"), calibrated.read_shard(0).rows[:50]
    images = [teacher.preprocess(source.load(row)[0].numpy()) for row in rows]
    logits = teacher.logits(np.stack(images))
    probs = np.exp(logits - logits.max(1, keepdims=True))
    want = apply_temperature(probs / probs.sum(1, keepdims=True), temperature)
    np.testing.assert_allclose(calibrated.read_probabilities(0, rows), want, atol=2e-3)


def test_the_best_model_is_kept(held_out):
    choice = read(held_out / "choice.json")
    values = choice["values"]
    assert set(values) == {"iteration_0", "iteration_1"} and choice["iteration"] == min(values, key=values.get)
    assert ns_jax.load(held_out, TINY).metadata == ns_jax.load(held_out / choice["iteration"], TINY).metadata


def test_a_student_that_is_worse_is_said_to_be(held_out, capsys):
    path = held_out / "iteration_1" / "evaluations" / "validation.npz"
    before, choice = path.read_bytes(), (held_out / "choice.json").read_bytes()
    with np.load(path) as arrays:
        arrays = dict(arrays)
    wrong = (arrays["label"] + 1) % 10
    arrays["probs"] = np.full_like(arrays["probs"], 0.01)
    arrays["probs"][np.arange(20), wrong] = 0.91
    with path.open("wb") as file:
        np.savez(file, **arrays)
    choose_iteration(held_out)
    said = capsys.readouterr().out
    assert "iteration_1 is worse than its teacher iteration_0 on 20 validation images" in said
    assert "Likely reasons: " in said and "best model on validation is that of iteration_0" in said
    warnings = read(held_out / "choice.json")["warnings"]
    assert len(warnings) == 1 and warnings[0].startswith("iteration_1 is worse")
    path.write_bytes(before)
    (held_out / "choice.json").write_bytes(choice)


def test_a_part_is_held_out(held_out):
    workdir = held_out
    answers = read_predictions(workdir / "iteration_0/evaluations/validation.npz")
    assert np.bincount(answers.labels).tolist() == [2] * 10
    assert read(workdir / "iteration_0/model/model.json")["steps"] == round(6.0 * 80 / 48)
    assert read(workdir / "iteration_1/evaluations/test.json")["count"] == 1000
    assert read(workdir / "choice.json")["iteration"] in ("iteration_0", "iteration_1")
    assert (workdir / "report" / "results.md").exists()


def test_a_class_without_pseudo_labels_stops_the_run(tmp_path):
    config = chain(validation_fraction=0.2, min_images_of_class=4000)
    with pytest.raises(UserError, match=r"iteration_1 select: too few pseudo-labels of class 0 \(\d+\), 1 "):
        orchestrate.run(config, epath.Path(tmp_path))


@pytest.mark.parametrize(
    "fields, problem",
    [
        ({"validation_fraction": 0.2, "validation_folds": 3}, "one of them says what to validate on"),
        ({"validation_folds": 1}, "leaves nothing to train on"),
        ({"calibrate": True}, "calibrate=True without validation images"),
        ({"min_precision": 0.9}, "min_precision=0.9 without validation images"),
        ({"balance": "prior"}, "without images_per_class"),
    ],
)
def test_impossible_configs(fields, problem):
    config = common.get_config()
    config.data.labeled = config.data.test = "mnist5k:test"
    config.images_per_class = 0 if "balance" in fields else config.images_per_class
    config.update(fields)
    with pytest.raises(UserError, match=problem):
        validate(config)
