"""One clear line that says what to do, exit code 2, nothing lost or overwritten."""

import json
import os
import subprocess

import pytest

from tests import command
from tests.data.sources.test_sources import write_image
from tests.tiny_model import TINY

SUPERVISED = "configs/mnist5k.py:control"
EIGHT_DEVICES = {"labeled_batch_size": 48, "eval_batch_size": 480}  # as many as the tests' own process has


def test_unknown_field_names_the_nearest(tmp_path):
    process = command.run(tmp_path / "w", "--config.trian_epochs=3")
    command.assert_one_line_error(process, "trian_epochs", "train_epochs")
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    "flag, word",
    [
        ("--config.train_epochs=-1", "must be above 0"),
        ("--config.variant=efficientnet-bo", "efficientnet-b0"),
        ("--config.pseudo_label=firm", "soft, hard"),
        ("--config.train_epochs=many", "train_epochs"),
    ],
)
def test_impossible_values(tmp_path, flag, word):
    command.assert_one_line_error(command.run(tmp_path / "w", flag), word)
    assert not (tmp_path / "w").exists()


def test_unknown_stage(tmp_path):
    command.assert_refused(tmp_path / "w", "label, select, train, finetune, evaluate", stages=("lable",))
    assert not (tmp_path / "w").exists()


def test_missing_config_file(tmp_path):
    command.assert_one_line_error(command.run(tmp_path, config="configs/nothing.py"), "configs/nothing.py")


def test_workdir_of_version_0_1(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"seed": 5}))
    command.assert_refused(tmp_path, "of version 0.1: its models open with ns_jax.load", "choose another --workdir")
    assert json.loads((tmp_path / "config.json").read_text()) == {"seed": 5}


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(("cat", "dog")):
        for i in range(8):
            write_image(tmp_path / "images" / name / f"{i}.jpg", 100 * number + i)
    return tmp_path / "images"


def test_labels_are_needed(tmp_path, folder):
    empty = tmp_path / "empty"
    empty.mkdir()
    for part, words in ((empty, "no images in it"), (folder / "cat", "one sub-folder per class")):
        fields = {"data__labeled": f"folder:{part}", "data__test": f"folder:{part}"} | EIGHT_DEVICES
        # In the same workdir: a run that never began does not keep it.
        command.assert_refused(tmp_path / "w", words, config=SUPERVISED, **fields)
    assert not list((tmp_path / "w").rglob("*.json"))


@pytest.mark.usefixtures("quick_compilation")
def test_own_folders_with_a_broken_image(tmp_path, folder, caplog):
    broken = folder / "cat" / "1.jpg"
    broken.write_bytes(broken.read_bytes()[:-40])
    fields = {"data__labeled": f"folder:{folder}", "data__test": f"folder:{folder}", "train_epochs": 1.0}
    fields |= {"variant": TINY, "labeled_batch_size": 8, "eval_batch_size": 8}
    command.assert_refused(tmp_path / "w", "cat/1.jpg", "max_broken_fraction=0.0625", config=SUPERVISED, **fields)
    command.run_here(tmp_path / "v", config=SUPERVISED, data__max_broken_fraction=0.0625, **fields)
    assert "skipped the broken image cat/1.jpg" in caplog.text
    evaluation = json.loads((tmp_path / "v" / "evaluations/test.json").read_text())
    assert (evaluation["count"], evaluation["skipped"]) == (15, 1)

    # The model of two classes as the teacher of ten.
    fields = {"data__unlabeled": "mnist5k:unlabeled", "unlabeled_ratio": 4, "teacher": str(tmp_path / "v" / "model")}
    fields["variant"] = TINY
    command.assert_refused(tmp_path / "u", "has 2 classes", "has 10", config=SUPERVISED, **fields, **EIGHT_DEVICES)


@pytest.mark.slow
def test_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        process = command.run(disk, env=command.quick_environment())
        command.assert_one_line_error(process, "no space left", "start again")
        assert not list(disk.rglob("model.json"))
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_missing_package(tmp_path):
    hide = tmp_path / "hide" / "mlxtend"
    hide.mkdir(parents=True)
    (hide / "__init__.py").write_text("raise ImportError('no mlxtend here')")
    env = command.environment() | {"PYTHONPATH": str(tmp_path / "hide") + os.pathsep + os.environ.get("PYTHONPATH", "")}
    process = command.run(tmp_path / "w", env=env)
    command.assert_one_line_error(process, "pip install 'ns_jax[demo]'")


def test_workdir_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    words = (f"{tmp_path}/file/w cannot be written (Not a directory)", "another --workdir")
    command.assert_refused(tmp_path / "file" / "w", *words)
