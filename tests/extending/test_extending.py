"""Everything that can be of one's own, each in one file outside the package, through the commands that users run."""

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest
from etils import epath

import ns_jax
from ns_jax.configs import mnist5k
from ns_jax.errors import UserError
from ns_jax.experiment.checks import validate
from ns_jax.files import read_json
from ns_jax.run import orchestrate
from tests import command
from tests.conftest import REPO

CONFIG = "tests/extending/experiment.py"
MODELS = {
    "images": "tests.extending.own_model:TinyConvNetArchitecture",
    "vectors": "tests.extending.own_vector_model:TwoLayersArchitecture",
}


@pytest.fixture(scope="module", params=MODELS)
def run(request, tmp_path_factory):
    """(form, workdir) of a finished run."""
    workdir = tmp_path_factory.mktemp(request.param)
    process = command.run(workdir, config=f"{CONFIG}:{request.param}", env=command.quick_environment())
    assert process.returncode == 0, process.stderr
    assert "iteration_1 evaluate: balanced: balanced_accuracy" in process.stdout
    return request.param, workdir


def test_own_stage_rule_and_evaluation_have_run(run):
    form, workdir = run
    counts = read_json(workdir / "iteration_1" / "label_counts.json")
    manifest = read_json(workdir / "iteration_1" / "selection" / "manifest.json")
    assert sum(counts.values()) == manifest["pseudo_labels"] and list(counts.values()) == manifest["per_class_before"]
    # The rule keeps the surer half of each class, ties included.
    assert manifest["pseudo_labels"] / 2 <= manifest["kept"] < manifest["pseudo_labels"]
    assert manifest["copies"] == manifest["kept"]
    for iteration in ("iteration_0", "iteration_1"):
        result = read_json(workdir / iteration / "evaluations" / "balanced.json")
        assert 0 < result["balanced_accuracy"] <= 1 and result["count"] > 100
    assert "balanced_accuracy" in (workdir / "report" / "results.md").read_text()


def test_the_model_has_no_batch_statistics_and_opens_again(run):
    form, workdir = run
    with pytest.raises(UserError, match=MODELS[form]):  # code that the file names runs only when it is asked for
        ns_jax.load(workdir)
    model = ns_jax.load(workdir, variant=MODELS[form])
    assert not model.variables["batch_stats"]
    examples = np.zeros((2, 2), np.float32) if form == "vectors" else np.zeros((2, 28, 28, 3), np.uint8)
    assert model.logits(examples).shape == (2, model.num_classes)
    from_checkpoint = ns_jax.load(workdir / "iteration_1" / "checkpoints", variant=MODELS[form])
    assert from_checkpoint.metadata["steps"] == {"images": 9, "vectors": 6}[form]


def test_own_operation_changes_the_images():
    """As the pipeline applies it: the same seed gives the same image, another one another."""
    import tensorflow as tf

    from tests.extending.own_operation import brightness

    image = tf.fill([4, 4, 3], tf.constant(100, tf.uint8))
    draws = [brightness(image, tf.constant([seed, 0], tf.int64), None).numpy() for seed in (0, 0, 1)]
    assert np.array_equal(draws[0], draws[1]) and not np.array_equal(draws[0], draws[2])


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
@pytest.mark.parametrize("form", [pytest.param("images", marks=pytest.mark.slow), "vectors"])
def test_a_plan(form):
    sizes = ("--num_labeled=100", "--num_unlabeled=3900", "--num_test=1000", "--num_classes=10")
    process = subprocess.run(
        [sys.executable, "-m", "ns_jax.plan", f"--config={CONFIG}:{form}", "--topology=v5e:2x2", "--json", *sizes],
        cwd=REPO, capture_output=True, text=True, timeout=300, env=command.environment(),
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    teacher, student = json.loads(process.stdout)
    assert [program["stage"] for program in teacher["programs"]] == ["train", "evaluate"]
    assert [program["stage"] for program in student["programs"]] == ["label", "train", "evaluate"]
    assert all(program["fits"] for program in student["programs"])


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("variant", "tests.extending.own_model:TinyConv", "has no 'TinyConv', did you mean 'TinyConvNet'"),
        ("variant", "tests.extending.own_modell:X", "cannot import tests.extending.own_modell"),
        ("variant", "tests.extending.own_operation:brightness", "cannot be made"),
        ("selection", "confidance", "unknown selection rule 'confidance': did you mean 'confidence'"),
        ("augment", ("pad44",), "'pad44'.*'pad4'"),
        ("augment", ("tests.extending.bad_operation:halves",), "bad_operation:halves.*uint8.*28, 28, 3"),
        ("evaluations.test.type", "clasification", "unknown evaluation 'clasification': did you mean 'classification'"),
        ("stages", ("label", "trian"), "unknown stage 'trian': did you mean 'train'"),
    ],
)
def test_names_that_lead_nowhere(tmp_path, field, value, words):
    config = mnist5k.get_config("smoke")
    config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=words):
        validate(config)
        orchestrate.run(config, epath.Path(tmp_path))
