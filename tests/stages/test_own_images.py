"""Whole runs on images as people have them, and what such a run refuses before it starts."""

import json

import numpy as np
import pytest
from etils import epath

from ns_jax.configs import mnist5k
from ns_jax.errors import UserError
from ns_jax.run import orchestrate
from ns_jax.run.settings import step_settings
from ns_jax.stages.train import Examples, labeled_draws
from tests import command
from tests.data.sources.test_sources import write_image
from tests.tiny_model import TINY

SUPERVISED = "configs/mnist5k.py:control"
FIELDS = {"variant": TINY, "labeled_batch_size": 8, "eval_batch_size": 8, "train_epochs": 1.0}


@pytest.fixture
def images(tmp_path):
    """Twelve labeled images, eight of them cats, and eight without labels."""
    for i in range(12):
        write_image(tmp_path / "labeled" / ("cat" if i < 8 else "dog") / f"{i}.png", 10 * i)
    for i in range(8):
        write_image(tmp_path / "unlabeled" / "roll" / f"u{i}.png", 30 * i)
    return tmp_path


def sources(folder, **more) -> dict:
    return {"data__labeled": f"folder:{folder}/labeled", "data__test": f"folder:{folder}/labeled"} | FIELDS | more


def chain(folder, **more) -> dict:
    own = {"data__unlabeled": f"folder:{folder}/unlabeled", "min_confidence": 0.0, "images_per_class": 0}
    return sources(folder, **own | {"unlabeled_ratio": 1, "label_shard_size": 100} | more)


def test_corrections_reach_every_iteration(images, capsys):
    corrections = images / "corrections.csv"
    corrections.write_text("path,label\nroll/u0.png,dog\nroll/u1.png,?\ncat/0.png,dog\n")
    config = mnist5k.get_config("smoke")
    fields = chain(images, data__corrections=str(corrections))
    config.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    plan = orchestrate.make_plan(config, epath.Path(images / "w"))
    for iteration in plan:
        iteration.inputs.check_training()
        labeled = iteration.inputs.open_labeled("labeled")
        assert np.bincount(labeled.labels).tolist() == [7, 6] and len(iteration.inputs.readable(labeled)) == 13
    assert capsys.readouterr().out.count("3 corrections: 1 labels changed, 1 images joined, 1 removed") == 1
    usable = plan[1].inputs.usable(plan[1].inputs.open("unlabeled"))
    assert usable.indices.tolist() == list(range(2, 8)) and usable.num_corrected == 2
    assert usable.describe_exclusion().endswith("not looked for, 2 left out by data.corrections")

    config.validation_fraction = 0.5
    held_out = orchestrate.make_plan(config, epath.Path(images / "h"))[1].inputs
    trained = held_out.trained_on(held_out.open_labeled("labeled"))
    source = held_out.open_labeled("validation")
    validated = held_out.evaluated("validation", source)
    assert sorted([*trained, *validated]) == list(range(13)) and np.bincount(source.labels).tolist() == [7, 6]
    config.validation_fraction = 0.0

    corrections.write_text("path,label\nroll/u0.png,cat\nroll/u1.png,?\ncat/0.png,dog\n")
    again = orchestrate.make_plan(config, epath.Path(images / "w"))
    with pytest.raises(UserError, match="data.corrections=.* has changed since this run began"):
        again[0].inputs.open("labeled")
    corrections.write_text("path,label\n" + "".join(f"roll/u{i}.png,?\n" for i in range(8)))
    nothing_left = orchestrate.make_plan(config, epath.Path(images / "v"))[1].inputs
    with pytest.raises(UserError, match="no image of folder:.*unlabeled is left"):
        nothing_left.usable(nothing_left.open("unlabeled"))


@pytest.mark.slow
@pytest.mark.usefixtures("quick_compilation")
def test_corrections_reach_the_teacher_and_leave_the_unlabeled(images, capsys):
    (images / "notes.txt").write_text("")
    (images / "labeled" / "notes.txt").write_text("")
    corrections = images / "corrections.csv"
    corrections.write_text("path,label\nroll/u0.png,dog\nroll/u1.png,?\ncat/0.png,dog\n")
    fields = chain(images, data__corrections=str(corrections), class_sampling="balanced", data__exif_orientation=True)
    fields["only_stages"] = ("label", "select", "train")
    command.run_here(images / "w", **fields)
    said = capsys.readouterr().out
    assert said.count("3 corrections: 1 labels changed, 1 images joined, 1 removed") == 1
    assert said.count("1 file is no image and left out (1 .txt): notes.txt") == 1
    assert "6 of 8 images labeled" in said and "2 left out by data.corrections" in said
    assert "iteration_0 train: draws of 13 labeled images: cat 50 %, dog 50 %" in said
    for iteration in ("iteration_0", "iteration_1"):
        assert json.loads((images / "w" / iteration / "data" / "labeled.json").read_text())["count"] == 13
        assert json.loads((images / "w" / iteration / "model" / "model.json").read_text())["exif_orientation"] is True


def planned(folder, **fields):
    """The iteration of a supervised run that has not begun."""
    config = mnist5k.get_config("control")
    config.update_from_flattened_dict(
        {name.replace("__", "."): value for name, value in sources(folder, **fields).items()}
    )
    (iteration,) = orchestrate.make_plan(config, epath.Path(folder / "w"))
    return iteration


def test_what_is_drawn_and_the_prior_of_the_loss(images, capsys):
    """8 cats and 4 dogs."""
    every = np.arange(12)
    for fields, times, prior in (
        ({}, [1] * 12, ()),
        ({"logit_adjustment": 2.0}, [1] * 12, (2 / 3, 1 / 3)),
        ({"class_sampling": "balanced"}, [1] * 8 + [2] * 4, (1 / 2, 1 / 2)),
    ):
        iteration = planned(images, **fields)
        source = iteration.inputs.open_labeled("labeled")
        drawn, shares = labeled_draws(iteration, Examples(source, every))
        assert np.bincount(drawn.indices).tolist() == times and shares == pytest.approx(prior)
        adjustment = step_settings(iteration.config, shares).loss.logit_adjustment
        tau = fields.get("logit_adjustment", 0.0)
        assert adjustment == pytest.approx([tau * np.log(share) for share in prior] if tau else ())
    assert capsys.readouterr().out == "train: draws of 12 labeled images: cat 50 %, dog 50 %\n"


def test_labeled_and_unlabeled_are_the_same(images):
    own = {"data__unlabeled": f"folder:{images}/labeled/"}
    command.assert_refused(images / "w", "are the labeled images: name other images", **chain(images, **own))


def test_one_class_only(images):
    (images / "list.csv").write_text("path,label\n" + "".join(f"labeled/cat/{i}.png,cat\n" for i in range(8)))
    own = {"data__labeled": f"manifest:{images}/list.csv", "data__test": f"manifest:{images}/list.csv"}
    words = ("has images of one class only, 'cat'", "at least two are needed")
    command.assert_refused(images / "w", *words, config=SUPERVISED, **sources(images) | own)


def test_a_class_without_labeled_images(images):
    rows = "labeled/cat/0.png,cat,train\nlabeled/dog/8.png,dog,train\nlabeled/dog/9.png,fox,test\n"
    (images / "list.csv").write_text(f"path,label,split\n{rows}")
    own = {"data__labeled": f"manifest:{images}/list.csv:train", "data__test": f"manifest:{images}/list.csv:test"}
    words = ("has no image of class 'fox': label some, or take the class out",)
    command.assert_refused(images / "w", *words, config=SUPERVISED, **sources(images) | own)


def test_a_class_that_only_the_test_images_have(images):
    for name in ("cat", "dog", "fox"):
        write_image(images / "test" / name / "0.png", 1)
    words = ("has 2 classes", "has 3: they must be the same; folder:", "test alone has 'fox'")
    own = {"data__test": f"folder:{images}/test"}
    command.assert_refused(images / "w", *words, config=SUPERVISED, **sources(images) | own)


def test_images_that_are_too_small(images):
    write_image(images / "labeled" / "cat" / "dot.png", 1, (7, 30))
    (images / "labeled" / "dog" / "broken.png").write_bytes(b"")
    words = ("1 of 14 images cannot be decoded and 1 of 14 images are smaller than 8 px, first 'cat/dot.png'",)
    command.assert_refused(images / "w", *words, config=SUPERVISED, **sources(images))


def test_two_cures_at_once(images):
    own = {"class_sampling": "balanced", "logit_adjustment": 1.0}
    command.assert_refused(images / "w", "do the same: choose one", config=SUPERVISED, **sources(images, **own))
