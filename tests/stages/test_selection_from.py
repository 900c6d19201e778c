"""Who filters: a selection that is kept, whose images another teacher labels (paper section 3.1)."""

import json

import numpy as np
import pytest
from etils import epath

from ns_jax.artifact.metadata import model_metadata
from ns_jax.artifact.weights import save_artifact
from ns_jax.configs import mnist5k
from ns_jax.data.sources.registry import open_source
from ns_jax.errors import UserError
from ns_jax.experiment.chain import only_stages
from ns_jax.experiment.checks import validate
from ns_jax.models.registry import get_architecture
from ns_jax.pseudo_labels.store import LabelStore, Selection
from ns_jax.run import orchestrate
from ns_jax.stages.train import online_examples
from tests.interop.weights import random_artifact
from tests.tiny_model import TINY

pytestmark = pytest.mark.usefixtures("quick_compilation")
CLASSES = tuple(map(str, range(10)))


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """Two teachers of random weights, and the run of one that labels the test images and selects by its labels."""
    folder = epath.Path(tmp_path_factory.mktemp("teachers"))
    for seed in (0, 1):
        metadata = model_metadata(get_architecture(TINY), 10, class_names=list(CLASSES))
        save_artifact(folder / f"teacher_{seed}", random_artifact(TINY, 10, seed).variables, metadata)
    label_and_select(folder / "run", folder / "teacher_0", images_per_class=150)
    return folder


def student(teacher, **fields):
    config = mnist5k.get_config("control")
    config.data.unlabeled, config.unlabeled_ratio, config.teacher = "mnist5k:test", 4, str(teacher)
    config.min_confidence, config.labeled_batch_size, config.eval_batch_size = 0.11, 48, 240
    config.variant = TINY
    config.update(fields)
    return config


def label_and_select(workdir, teacher, **fields):
    config = student(teacher, **fields)
    only_stages(config, ["label", "select"])
    validate(config)
    orchestrate.run(config, workdir)


def read_copies(run) -> dict[bytes, int]:
    """{id: copies}, where there are any, of the selection of a run."""
    selection, ids = Selection(run / "selection"), open_source("mnist5k:test").ids
    ranges = selection.manifest()["ranges"]
    copies = np.concatenate([selection.read_copies(shard) for shard in range(len(ranges))])
    return dict(zip(ids(np.flatnonzero(copies)).tolist(), copies[copies > 0].tolist(), strict=True))


def read_labels(run) -> dict[bytes, int]:
    """{id: label}."""
    store = LabelStore(run / "labels")
    shards = [store.read_shard(shard) for shard in range(len(store.manifest()["ranges"]))]
    ids, labels = (
        np.concatenate(column) for column in zip(*((each.ids, each["label"]) for each in shards), strict=True)
    )
    return dict(zip(ids.tolist(), labels.tolist(), strict=True))


def test_the_next_teacher_labels_the_selected_images_alone(teachers, tmp_path):
    folder = epath.Path(tmp_path) / "run"
    label_and_select(folder, teachers / "teacher_1", selection_from=str(teachers / "run"), label_shard_size=300)
    selected = read_copies(teachers / "run")
    assert 0 < len(selected) < 900 and max(selected.values()) > 1
    assert read_copies(folder) == selected
    labels, before = read_labels(folder), read_labels(teachers / "run")
    assert set(labels) == set(selected)
    same = [before[image] == label for image, label in labels.items()]
    assert np.mean(same) < 0.5  # two teachers of random weights agree by chance
    manifest = Selection(folder / "selection").manifest()
    assert (
        manifest["rule"].startswith("as ")
        and manifest["teacher"] == LabelStore(folder / "labels").manifest()["teacher"]
    )

    # A share is drawn from the finished selection.
    only_half = folder.parent / "half"
    run = str(teachers / "run")
    label_and_select(only_half, teachers / "teacher_1", selection_from=run, unlabeled_fraction=0.5)
    half = read_copies(only_half)
    assert all(abs(half.get(image, 0) - copies / 2) < 1 for image, copies in selected.items())
    assert set(half) < set(selected)


def test_an_online_teacher_sees_the_selected_images_as_often(teachers, tmp_path):
    config = student(teachers / "teacher_1", selection_from=str(teachers / "run"), online_teacher=True)
    validate(config)
    (iteration,) = orchestrate.make_plan(config, epath.Path(tmp_path))
    unlabeled = open_source("mnist5k:test")
    ids, times = np.unique(unlabeled.ids(online_examples(iteration, unlabeled)), return_counts=True)
    assert dict(zip(ids.tolist(), times.tolist(), strict=True)) == read_copies(teachers / "run")


def test_a_chain_names_an_iteration(tmp_path):
    config = mnist5k.get_config()
    config.chain.iteration_2 = {"selection_from": "iteration_1"}
    validate(config)
    plan = orchestrate.make_plan(config, epath.Path(tmp_path))
    assert [iteration.selection_from for iteration in plan] == [None, None, tmp_path / "iteration_1", None]
    config.chain.iteration_2 = {"selection_from": "iteration_0"}
    with pytest.raises(UserError, match="selection_from=iteration_0: that iteration has no pseudo-labels"):
        orchestrate.make_plan(config, epath.Path(tmp_path))


def refused(teachers, tmp_path, match, **fields):
    config = student(teachers / "teacher_1", **fields)
    with pytest.raises(UserError, match=match):
        orchestrate.run(config, epath.Path(tmp_path) / "refused")


def test_a_selection_that_does_not_fit_is_refused_before_anything_is_labeled(teachers, tmp_path):
    run = str(teachers / "run")
    other_images = "is a selection from 1000 images, and mnist5k:unlabeled holds 3900: they must be the same"
    refused(teachers, tmp_path, other_images, selection_from=run, data={"unlabeled": "mnist5k:unlabeled"})
    refused(teachers, tmp_path, "selection_from=/no/run: there is no such folder", selection_from="/no/run")
    selection = Selection(epath.Path(tmp_path) / "digits" / "selection")
    manifest = Selection(teachers / "run" / "selection").manifest()
    selection.write_manifest(manifest | {"class_names": ["zero", *CLASSES[1:]]})
    refused(
        teachers, tmp_path, "differ in their classes, first at 0: 'zero' there, '0' here", selection_from=str(tmp_path)
    )


def test_labels_of_another_selection_are_not_taken_for_those(teachers, tmp_path):
    workdir = epath.Path(tmp_path)
    label_and_select(workdir, teachers / "teacher_1", selection_from=str(teachers / "run"))
    path = workdir / "labels" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"selection": "another"}))
    with pytest.raises(UserError, match="labels was labeled for another selection than this run has: delete it"):
        label_and_select(workdir, teachers / "teacher_1", selection_from=str(teachers / "run"))


def test_a_selection_without_unlabeled_images():
    config = mnist5k.get_config("control")
    config.selection_from = "run"
    with pytest.raises(UserError, match="selection_from=run without data.unlabeled: there is nothing to select from"):
        validate(config)
