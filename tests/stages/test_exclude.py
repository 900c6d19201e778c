"""Unlabeled images that are test images: a run with data.exclude neither labels nor selects nor trains on them."""

import json

import numpy as np
import pytest
from etils import epath

from ns_jax.artifact.metadata import model_metadata
from ns_jax.artifact.weights import save_artifact
from ns_jax.configs import mnist5k
from ns_jax.data.duplicates.matching import DUPLICATE
from ns_jax.data.duplicates.sidecar import write_sidecar
from ns_jax.data.sources.registry import open_source
from ns_jax.errors import UserError
from ns_jax.experiment.chain import only_stages
from ns_jax.experiment.checks import validate
from ns_jax.experiment.workdir import claim_workdir
from ns_jax.files import write_json
from ns_jax.models.registry import get_architecture
from ns_jax.pseudo_labels.store import LabelStore, Selection
from ns_jax.report.write import write_report
from ns_jax.run import orchestrate
from ns_jax.stages.train import online_examples
from tests.interop.weights import random_artifact

EXCLUDED = np.array([0, 7, 500, 999])
KEPT = np.setdiff1d(np.arange(1000), EXCLUDED)


def write(path, excluded, unlabeled="mnist5k:test"):
    source, other = open_source(unlabeled), open_source("mnist5k:labeled")
    duplicates = np.zeros(len(excluded), DUPLICATE)
    duplicates["index"] = excluded
    write_sidecar(path, source, [other], duplicates, [np.zeros(0, np.int64)] * 2, 4, "by hand")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A teacher of random weights, and the file of four duplicates among mnist5k:test."""
    folder = epath.Path(tmp_path_factory.mktemp("exclude"))
    metadata = model_metadata(get_architecture("efficientnet-small"), 10, class_names=list(map(str, range(10))))
    save_artifact(folder / "teacher", random_artifact("efficientnet-small", 10).variables, metadata)
    write(folder / "duplicates.jsonl", EXCLUDED)
    return folder


def student(folder, **fields):
    config = mnist5k.get_config("control")
    config.data.unlabeled, config.data.exclude = "mnist5k:test", str(folder / "duplicates.jsonl")
    config.unlabeled_ratio, config.teacher = 4, str(folder / "teacher")
    config.min_confidence, config.images_per_class = 0.0, 0
    config.labeled_batch_size, config.eval_batch_size = 48, 240
    config.update(fields)
    return config


def label_and_select(config, workdir):
    only_stages(config, ["label", "select"])
    validate(config)
    orchestrate.run(config, epath.Path(workdir))


def test_they_are_not_labeled_and_not_selected(folder, tmp_path, capsys):
    label_and_select(student(folder), tmp_path)
    ids, workdir = open_source("mnist5k:test").ids(KEPT), epath.Path(tmp_path)
    labels, copies = LabelStore(workdir / "labels").read_shard(0), Selection(workdir / "selection").read_copies(0)
    np.testing.assert_array_equal(labels.ids, ids)
    np.testing.assert_array_equal(labels.rows, KEPT)
    assert len(copies) == 1000 and not copies[np.setdiff1d(np.arange(1000), KEPT)].any()
    said = "996 of 1000 images labeled in 1 files, 0 could not be read, 4 left out by data.exclude"
    assert said in capsys.readouterr().out
    assert json.loads((tmp_path / "labels" / "manifest.json").read_text())["skipped"] == 0

    # Another content under the same path is refused, also where everything is labeled already.
    sidecar = folder / "duplicates.jsonl"
    before = sidecar.read_bytes()
    write(sidecar, EXCLUDED[:2])
    try:
        with pytest.raises(UserError, match="duplicates.jsonl has changed since this run began: put it back"):
            label_and_select(student(folder), tmp_path)
    finally:
        sidecar.write_bytes(before)
    label_and_select(student(folder), tmp_path)
    with pytest.raises(UserError, match="data.exclude is '.*duplicates.jsonl' there and '' here"):
        label_and_select(student(folder, data={"exclude": ""}), tmp_path)


def test_an_online_teacher_does_not_see_them(folder, tmp_path, capsys):
    source = open_source("mnist5k:test")
    for exclude, seen, said in (
        ("duplicates.jsonl", KEPT, "4 left out by data.exclude"),
        ("", np.arange(1000), "duplicates of test images not looked for"),
    ):
        data = {"exclude": exclude and str(folder / exclude)}
        config = student(folder, online_teacher=True, data=data)
        validate(config)
        (iteration,) = orchestrate.make_plan(config, epath.Path(tmp_path))
        np.testing.assert_array_equal(online_examples(iteration, source), seen)
        assert said in capsys.readouterr().out


def test_labeled_and_test_images_are_all_used(folder, tmp_path):
    """Although mnist5k:test is the unlabeled source, too."""
    (iteration,) = orchestrate.make_plan(student(folder), epath.Path(tmp_path))
    source = iteration.inputs.open("test")
    assert source.name == "mnist5k:test" and len(iteration.inputs.readable(source)) == 1000


def report(config, workdir) -> str:
    """The text about a run that has opened its data and was evaluated."""
    claim_workdir(workdir, config)
    (iteration,) = orchestrate.make_plan(config, workdir)
    iteration.inputs.open("unlabeled")
    result = {"iteration": "model", "variant": "x", "top1": 0.5, "correct": 5, "count": 10}
    write_json(iteration.paths.evaluation("test"), result | {"unlabeled_ratio": 4, "pseudo_labels": 0})
    write_report(workdir)
    return (workdir / "report" / "results.md").read_text()


def test_the_report_says_it(folder, tmp_path):
    assert (
        "Duplicates: 4 images of mnist5k:test left out, which mnist5k:labeled holds too "
        f"({folder}/duplicates.jsonl, with near-duplicates up to distance 4)."
    ) in report(student(folder), epath.Path(tmp_path / "with"))
    without = student(folder, data={"exclude": ""})
    assert "Duplicates: not looked for" in report(without, epath.Path(tmp_path / "without"))


def refused(config, workdir, match):
    with pytest.raises(UserError, match=match) as caught:
        validate(config)
        orchestrate.run(config, epath.Path(workdir))
    assert "\n" not in str(caught.value)


def test_files_that_do_not_fit_are_refused_before_anything_is_labeled(folder, tmp_path):
    other = epath.Path(tmp_path / "other.jsonl")
    write(other, [1], "mnist5k:labeled")
    essay = tmp_path / "essay.txt"
    essay.write_text("an essay")
    for path, words in (
        (other, "other.jsonl is of the images of mnist5k:labeled, not of mnist5k:test"),
        (essay, "essay.txt is no file of python -m ns_jax.deduplicate"),
        (tmp_path / "nothing", "nothing is not a file"),
    ):
        refused(student(folder, data={"exclude": str(path)}), tmp_path / "run", words)
        assert not list((tmp_path / "run").rglob("*.json"))  # a run that never began does not keep its workdir
    config = student(folder, data={"unlabeled": ""}, unlabeled_ratio=0, teacher="")
    refused(config, tmp_path / "run", "without data.unlabeled: there is nothing to leave out")


def test_nothing_is_left(folder, tmp_path):
    everything = epath.Path(tmp_path / "everything.jsonl")
    write(everything, np.arange(1000))
    config = student(folder, data={"exclude": str(everything)})
    refused(config, tmp_path / "run", "no image of mnist5k:test is left: 0 of 1000 cannot be decoded, and the others")
