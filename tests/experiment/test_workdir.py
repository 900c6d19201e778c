"""What a workdir says of the run that it belongs to."""

import json

import pytest
from etils import epath

from ns_jax.configs import common, mnist5k
from ns_jax.errors import UserError
from ns_jax.experiment.chain import iteration_names, iterations, only_stages
from ns_jax.experiment.fingerprint import flatten, lockstep_fingerprint
from ns_jax.experiment.saved import load_config
from ns_jax.experiment.workdir import claim_workdir, run_iterations
from tests import experiments


@pytest.mark.parametrize(
    "name", ["mnist5k:chain", "l2_iter1", "ablation_joint:pretrain_finetune,small", "svhn:teacher"]
)
def test_config_json_repeats_the_run(name, tmp_path):
    config = experiments.load(name)
    claim_workdir(epath.Path(tmp_path), config)
    again = load_config(tmp_path / "config.json")
    assert flatten(again) == flatten(config) and again.is_locked
    assert [(title, one.to_dict()) for title, one in iterations(again)] == [
        (title, one.to_dict()) for title, one in iterations(config)
    ]
    assert lockstep_fingerprint(again) == lockstep_fingerprint(config)


def test_config_json_says_iterations_and_results(tmp_path):
    config = experiments.named_chain("teacher", "student")
    with config.unlocked():
        config.chain.student.finetune = {"epochs": 1.0}
    config.data.dir, config.paper_row = "/somewhere", "1/2"
    only_stages(config, ["train"])
    claim_workdir(epath.Path(tmp_path), config)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["format_version"] == 2 and saved["ns_jax"].startswith("0.2")
    assert saved["iterations"] == ["teacher", "student"]
    assert run_iterations(epath.Path(tmp_path)) == ["teacher", "student"]
    assert saved["results"] == {"teacher": "teacher/model", "student": "student/finetune/model"}
    assert saved["config"]["data"]["dir"] == "/somewhere" and saved["config"]["paper_row"] == "1/2"
    assert saved["config"]["stages"] == list(common.get_config().stages) and not saved["config"]["only_stages"]


def test_a_workdir_belongs_to_one_config(tmp_path):
    workdir, config = epath.Path(tmp_path / "w"), mnist5k.get_config()
    claim_workdir(workdir, config)
    before = (workdir / "config.json").read_text()
    config.log_every_steps, config.checkpoint_every_steps = 7, 9
    only_stages(config, ["evaluate"])
    claim_workdir(workdir, config)
    assert (workdir / "config.json").read_text() == before
    config.seed, config.noise.dropout_rate = 5, 0.5
    with pytest.raises(
        UserError, match="noise.dropout_rate is None there and 0.5 here, seed is 0 there and 5 here.: choose"
    ):
        claim_workdir(workdir, config)
    config = mnist5k.get_config()
    config.chain.iteration_2 = {"seed": 3}
    with pytest.raises(UserError, match="seed is 0 there and 3 here in iteration_2"):
        claim_workdir(workdir, config)
    with pytest.raises(UserError, match="the iterations are iteration_0, .* there and one without a name here"):
        claim_workdir(workdir, mnist5k.get_config("control"))
    assert (workdir / "config.json").read_text() == before


def test_a_run_may_get_more_iterations_and_evaluations(tmp_path):
    workdir, config = epath.Path(tmp_path), mnist5k.get_config()
    claim_workdir(workdir, config)
    config.chain.iteration_4 = {"train_epochs": 3.0}
    config.evaluations.hard = {"classes": ("3", "5")}
    claim_workdir(workdir, config)
    saved = load_config(workdir / "config.json")
    assert iteration_names(saved)[-1] == "iteration_4" and sorted(saved.evaluations) == ["hard", "test"]
    claim_workdir(workdir, mnist5k.get_config())  # less than there is
    assert flatten(load_config(workdir / "config.json")) == flatten(saved)
    config.evaluations.hard.classes = ("3", "8")
    claim_workdir(workdir, config)  # it was not evaluated yet
    assert load_config(workdir / "config.json").evaluations.hard.classes == ("3", "8")
    (workdir / "iteration_2" / "evaluations").mkdir(parents=True)
    (workdir / "iteration_2" / "evaluations" / "hard.json").write_text("{}")
    claim_workdir(workdir, config)
    config.evaluations.hard.classes = ("3", "9")
    with pytest.raises(UserError, match="iteration_2/evaluations/hard.json is of .*'3', '8'.*: give it another name"):
        claim_workdir(workdir, config)


@pytest.mark.parametrize("folder", ["labels", "iteration_1/model", "iteration_0/checkpoints"])
def test_results_without_their_config_are_nobodys(folder, tmp_path):
    (tmp_path / folder).mkdir(parents=True)
    config = mnist5k.get_config()
    if folder == "labels":
        config = mnist5k.get_config("control")
    with pytest.raises(UserError, match=f"{folder} exists, but .* no config.json"):
        claim_workdir(epath.Path(tmp_path), config)


def test_iterations_of_runs_that_do_not_say_them(tmp_path):
    for folder in ("iteration_9/model", "iteration_10/finetune/model", "iteration_11/logs", "report"):
        (tmp_path / folder).mkdir(parents=True)
    assert run_iterations(epath.Path(tmp_path)) == ["iteration_9", "iteration_10"]
    (tmp_path / "config.json").write_text(json.dumps({"seed": 0, "chain.iteration_9.seed": 1}))  # version 0.1
    assert run_iterations(epath.Path(tmp_path)) == ["iteration_9", "iteration_10"]
    assert run_iterations(epath.Path(tmp_path / "report")) == [""]


VALID = {"format_version": 2, "iterations": [""], "config": {}}


@pytest.mark.parametrize(
    "saved, message",
    [
        ({"seed": 5, "chain.iteration_0.data.unlabeled": ""}, "run of version 0.1: .*ns_jax.load.* another --workdir"),
        ({}, "version 0.1"),
        ([], "is damaged"),
        (VALID | {"format_version": 3, "ns_jax": "0.9"}, "format_version 3 .of ns_jax 0.9."),
        (VALID | {"config": None}, "config or iterations are missing"),
        (VALID | {"iterations": []}, "config or iterations are missing"),
        (VALID | {"config": {"sed": 3}}, "no field sed, did you mean seed"),
        (VALID | {"config": {"seed": "x"}}, "is damaged"),
        (VALID | {"config": {"seed": None}}, "seed is null"),
        (VALID | {"config": {"noise": 3}}, "noise"),
        (VALID | {"config": {"chain": {"a": 3}}}, "chain is no dictionary"),
        (VALID | {"config": {"evaluations": []}}, "evaluations is no dictionary"),
    ],
)
def test_a_config_json_that_is_none(saved, message, tmp_path):
    text = json.dumps(saved)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=message):
        claim_workdir(epath.Path(tmp_path), mnist5k.get_config())
    assert (tmp_path / "config.json").read_text() == text
