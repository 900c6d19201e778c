"""The model that a run's folder ended with."""

import json

import pytest
from etils import epath

from ns_jax.errors import UserError
from ns_jax.inference.model import read
from ns_jax.inference.run_folder import result_of_run
from ns_jax.interop import formats
from tests.interop.weights import random_artifact


@pytest.fixture
def run(tmp_path):
    """A function that writes models (not their weights) of a run, and its config.json."""

    def write(*models: str, config: dict | None = None) -> epath.Path:
        for model in models:
            (tmp_path / model).mkdir(parents=True)
            (tmp_path / model / "model.json").write_text("{}")
        if config is not None:
            (tmp_path / "config.json").write_text(json.dumps(config))
        return epath.Path(tmp_path)

    return write


def version_2(*names: str) -> dict:
    """What config.json says of iterations in this order."""
    return {"format_version": 2, "ns_jax": "0.2.0", "iterations": list(names), "config": {}}


@pytest.mark.parametrize(
    "models, config, want",
    [
        (["teacher/model", "student/model"], version_2("teacher", "student"), "student/model"),
        (["teacher/model", "student/model"], version_2("student", "teacher"), "teacher/model"),
        (["a_1/model", "a_2/model"], version_2("a_2", "a_1"), "a_1/model"),  # not the number decides
        (["a/model"], version_2("a", "b"), "a/model"),  # the last one is not done
        (["a/model", "a/finetune/model", "b/model"], version_2("a", "b"), "b/model"),
        (["a/model", "a/finetune/model"], version_2("a"), "a/finetune/model"),
        (["model"], version_2(""), "model"),
        (["model", "finetune/model"], version_2(""), "finetune/model"),
        ([], version_2("a"), None),
        (["iteration_9/model", "iteration_10/model"], {"seed": 0}, "iteration_10/model"),  # version 0.1
        (["iteration_0/model", "iteration_0/finetune/model"], {"seed": 0}, "iteration_0/finetune/model"),
        (["model"], {"seed": 0}, "model"),
        (["iteration_0/model", "iteration_1/model"], None, "iteration_1/model"),
        ([], None, None),
    ],
)
def test_result(run, models, config, want):
    folder = run(*models, config=config)
    assert result_of_run(folder) == (None if want is None else folder / want)


@pytest.mark.parametrize(
    "config, words",
    [
        ({"seed": 0}, "version 0.1.*student, teacher: name the folder"),
        ([], "config.json is damaged"),
        ({"format_version": 2, "iterations": [{"name": "a"}], "config": {}}, "iterations are missing"),
        ({"format_version": 3}, "has format_version 3"),
    ],
)
def test_folders_that_do_not_say_it(run, config, words):
    with pytest.raises(UserError, match=words):
        result_of_run(run("teacher/model", "student/model", config=config))


def test_a_run_is_opened(tmp_path):
    for seed, name in enumerate(("teacher", "student")):
        formats.write(epath.Path(tmp_path / name / "model"), random_artifact("efficientnet-small", 3, seed), "artifact")
    (tmp_path / "config.json").write_text(json.dumps(version_2("student", "teacher")))
    want = random_artifact("efficientnet-small", 3, 0).variables["params"]["stem"]["kernel"]
    assert (read(tmp_path).variables["params"]["stem"]["kernel"] == want).all()
    assert read(tmp_path / "student").folder == tmp_path / "student" / "model"


@pytest.mark.parametrize("content", ["{}", "[]", "null", '{"model": 3}', "[" * 100_000, "{"])
@pytest.mark.parametrize("name", ["choice.json", "config.json"])
def test_damaged_files_of_a_run_are_named(tmp_path, name, content):
    if (name, content) in (("config.json", "{}"), ("config.json", '{"model": 3}')):
        pytest.skip("as of version 0.1")
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=f"{name} is damaged"):
        result_of_run(epath.Path(tmp_path))
