"""Evaluations of robustness in a run: parts beside the result, and what is missing said after the others."""

import pytest
from etils import epath

from ns_jax.artifact.metadata import model_metadata
from ns_jax.artifact.weights import save_artifact
from ns_jax.configs import mnist5k
from ns_jax.errors import UserError
from ns_jax.experiment.checks import validate
from ns_jax.files import read_json
from ns_jax.models.registry import get_architecture
from ns_jax.run import orchestrate
from ns_jax.stages import evaluate
from tests.evaluators.imagenet import write_image
from tests.interop.weights import random_artifact
from tests.tiny_model import TINY


@pytest.fixture
def workdir(tmp_path):
    """With a model of the ten digits."""
    folder = epath.Path(tmp_path / "w")
    save_artifact(folder / "model", random_artifact(TINY, 10).variables, model_metadata(get_architecture(TINY), 10))
    return folder


def make_iteration(workdir, evaluations):
    config = mnist5k.get_config("control")
    config.variant, config.eval_batch_size, config.data.test = TINY, 16, f"folder:{workdir}/digits"
    for digit in range(10):
        write_image(workdir / "digits" / str(digit) / "a.png", digit)
    for name, evaluation in evaluations.items():
        config.evaluations[name] = evaluation
    validate(config)
    (iteration,) = orchestrate.make_plan(config, workdir)
    return iteration


def test_parts_beside_the_result(workdir):
    iteration = make_iteration(
        workdir, {"attack": {"type": "fgsm", "epsilons": (0.5, 3)}, "sure": {"type": "selective"}}
    )
    evaluate.run(iteration)
    result = read_json(workdir / "evaluations" / "attack.json")
    assert result["epsilons"] == [0, 0.5, 3] and result["count"] == 10 and result["type"] == "fgsm"
    parts = {path.name: read_json(path) for path in (workdir / "evaluations" / "attack.parts").iterdir()}
    assert set(parts) == {"epsilon_0.json", "epsilon_0.5.json", "epsilon_3.json"}
    clean = read_json(workdir / "evaluations" / "test.json")
    assert parts["epsilon_0.json"]["correct"] == clean["correct"] and parts["epsilon_0.json"]["model"] == clean["model"]
    (workdir / "evaluations" / "attack.json").unlink()
    for path in (workdir / "evaluations" / "attack.parts").iterdir():
        part = read_json(path)
        path.write_text(path.read_text().replace(f'"correct": {part["correct"]}', '"correct": 7'))
    evaluate.run(iteration)  # the parts are read, not computed
    assert read_json(workdir / "evaluations" / "attack.json")["correct_at"] == [7, 7, 7]


def test_what_is_missing_is_said_after_the_others(workdir):
    for severity in (1, 2):
        write_image(workdir / "c" / "fog" / str(severity) / "3" / "a.png", severity)
    evaluations = {
        "a_corrupted": {"type": "corruptions", "data": f"imagenet_c:{workdir}/c"},
        "z_sure": {"type": "selective"},
    }
    iteration = make_iteration(workdir, evaluations)
    with pytest.raises(UserError, match=r"^a_corrupted: imagenet_c:.* lacks 73 of 75"):
        evaluate.run(iteration)
    assert (workdir / "evaluations" / "z_sure.json").exists() and not (
        workdir / "evaluations" / "a_corrupted.json"
    ).exists()
    assert read_json(workdir / "evaluations" / "a_corrupted.parts" / "fog-2.json")["count"] == 1


def test_a_source_without_corruptions_is_refused_before_training(workdir):
    iteration = make_iteration(workdir, {"corrupted": {"type": "corruptions"}})
    with pytest.raises(UserError, match="digits has no parts, and this evaluation needs"):
        evaluate.check(iteration)


@pytest.mark.parametrize(
    ("evaluation", "words"),
    [
        (
            {"type": "fgsm", "epsilons": (2, 300)},
            r"attack.epsilons=\(2, 300\) must be at least 0 and at most 255, each",
        ),
        ({"type": "fgsm", "epsilons": ()}, "must be a tuple of numbers"),
        ({"type": "fgsm", "steps": 3}, r"there is no \['steps'\], only type, data, classes, epsilons"),
        ({"type": "pgd", "restarts": 0}, "attack.restarts=0 must be at least 1"),
        ({"type": "calibration", "bins": "many"}, "must be a number"),
    ],
)
def test_impossible_options(evaluation, words):
    config = mnist5k.get_config("control")
    config.evaluations.attack = evaluation
    with pytest.raises(UserError, match=words):
        validate(config)


def test_options_have_defaults():
    config = mnist5k.get_config("control")
    config.evaluations.attack = {"type": "pgd", "steps": 3}
    validate(config)
    from ns_jax.experiment.chain import iterations

    ((_, resolved),) = iterations(config)
    assert resolved.evaluations.attack.to_dict() == {
        "type": "pgd", "data": "", "classes": (), "epsilons": (16,), "steps": 3, "step_size": 0.0,
        "random_start": False, "restarts": 1, "seed": 0,
    }  # fmt: skip
