"""The report of a run, from nothing but its folder."""

import dataclasses
import json

import matplotlib.image
import numpy as np
import pytest
import tensorflow as tf
from etils import epath

from ns_jax.configs import mnist5k
from ns_jax.data.sources.registry import open_source
from ns_jax.errors import UserError
from ns_jax.experiment.saved import save_config
from ns_jax.pseudo_labels.store import LabelStore, Selection
from ns_jax.report import write
from ns_jax.report.collect import collect_run
from ns_jax.report.results import numbers_table, results_table, wilson_interval
from tests.data.sources.test_sources import write_image
from tests.pseudo_labels import version_0_1

CLASSES = ("cat", "dog", "owl")
COUNT = 60


def evaluation(name: str, ratio: int, correct: int) -> dict:
    """What the evaluate stage writes about the test set."""
    return {
        "evaluation": "test", "type": "classification", "iteration": name, "paper_row": "", "test": "folder:/test",
        "variant": "efficientnet-small", "count": 1000, "correct": correct, "top1": correct / 1000, "top5": 1.0,
        "unlabeled_ratio": ratio, "pseudo_labels": COUNT if ratio else 0, "pseudo_labels_kept": 40 if ratio else 0,
    }  # fmt: skip


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A teacher and a student with pseudo-labels, and one evaluation of one's own."""
    folder = epath.Path(tmp_path_factory.mktemp("run"))
    images = tmp_path_factory.mktemp("images")
    for number in range(COUNT):
        write_image(images / f"{number:03d}.png", number)
    config = mnist5k.get_config("smoke")
    with config.unlocked():
        config.evaluations.own = {"type": "my_package:evaluate"}
        config.chain.iteration_1.data = {"unlabeled": f"folder:{images}"}
    save_config(folder / "config.json", config)
    student = folder / "iteration_1"
    for name, ratio, correct in (("iteration_0", 0, 913), ("iteration_1", 14, 936)):
        own = {"evaluation": "own", "iteration": name, "balanced": correct / 2000, "name": "a text"}
        for evaluated, result in (("test", evaluation(name, ratio, correct)), ("own", own)):
            path = folder / name / "evaluations" / f"{evaluated}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(result))
    ids = open_source(f"folder:{images}").ids(np.arange(COUNT))
    probs = np.random.default_rng(0).dirichlet((0.3, 0.3, 0.3), COUNT).astype(np.float32)
    ranges = [[0, 40], [40, COUNT]]
    store, selection = LabelStore(student / "labels"), Selection(student / "selection")
    for shard, (start, stop) in enumerate(ranges):
        version_0_1.write_labels(store, shard, ids[start:stop], probs[start:stop])
        selection.write_records(shard, ids[start:stop], np.ones(stop - start, np.uint32))
    store.write_manifest({"ranges": ranges, "class_names": list(CLASSES)})
    selection.write_manifest({"per_class_before": [30, 18, 12], "per_class_after": [20, 20, 20]})
    return folder, probs


def test_a_run_is_collected_from_its_folder(run_folder):
    folder, probs = run_folder
    teacher, student = collect_run(folder)
    assert (teacher.name, student.name) == ("iteration_0", "iteration_1")
    assert teacher.labels is None and teacher.unlabeled == ""
    assert list(student.evaluations) == ["own", "test"] and student.evaluations["test"]["correct"] == 936
    np.testing.assert_array_equal(student.labels.histogram, np.histogram(probs.max(1), np.linspace(0, 1, 51))[0])
    assert student.labels.count == COUNT and student.labels.mean_confidence == pytest.approx(probs.max(1).mean())
    records, ids = student.labels.samples["random"]  # of so few images all
    np.testing.assert_array_equal(records["confidence"], probs.max(1)[records["index"]])
    np.testing.assert_array_equal(records["label"], probs.argmax(1)[records["index"]])
    assert sorted(ids) == [b"%03d.png" % number for number in range(COUNT)]
    assert student.labels.class_names == list(CLASSES)
    assert student.labels.selection["per_class_after"] == [20, 20, 20]


def test_report(run_folder, capsys):
    folder, _ = run_folder
    write.write_report(folder)
    text = (folder / "report" / "results.md").read_text()
    assert text.startswith("| iteration   | student            | ratio |")  # the test set's table comes first
    assert "| iteration_1 | efficientnet-small | 14:1  | 40 of 60" in text
    assert "93.6 %" in text and "91.9 to 95.0" in text
    assert "own:\n\n| iteration   | balanced |" in text and "| iteration_1 | 0.468    |" in text
    printed = capsys.readouterr().out
    assert text.strip() in printed and f"report: {folder}/report" in printed
    for name in ("accuracy", "confidence", "balance", "samples"):
        picture = matplotlib.image.imread(folder / "report" / f"{name}.png")
        assert picture.shape[0] > 200 and picture.shape[1] > 500
        assert picture[..., :3].min() < 0.2 and picture[..., :3].max() == 1


def test_samples_are_in_order_and_half_of_them_unsure(run_folder):
    folder, probs = run_folder
    _, student = collect_run(folder)
    images, titles = write.sample_images(student)
    confidences = [float(title.split()[1]) for title in titles]
    assert confidences == sorted(confidences)
    assert confidences[0] == pytest.approx(probs.max(1).min(), abs=0.006)
    assert all(image.dtype == np.uint8 and image.ndim == 3 for image in images)
    places = write.sample_places(4000)
    assert len(places) == write.SAMPLES and sum(places < 400) == 20 and places[-1] == 3999
    assert write.sample_places(1).tolist() == [0]


def test_a_source_that_is_gone_leaves_out_the_samples(run_folder, monkeypatch, tmp_path):
    folder, _ = run_folder
    collected = collect_run(folder)[1]
    object.__setattr__(collected, "unlabeled", f"folder:{tmp_path / 'gone'}")
    write.draw_pseudo_labels([collected], epath.Path(tmp_path / "report"))
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["balance.png", "confidence.png"]


@pytest.mark.parametrize("shape", [(2,), (4, 4), (4, 4, 12)])
def test_arrays_leave_out_the_samples(run_folder, monkeypatch, shape):
    folder, _ = run_folder
    student = collect_run(folder)[1]
    source = dataclasses.replace(
        open_source(student.unlabeled), name="own", load=lambda index: (tf.zeros(shape), tf.constant(0))
    )
    monkeypatch.setattr(write, "open_source", lambda name, data_dir, **_: source)
    with pytest.raises(UserError, match="own holds arrays of shape .*, not images"):
        write.sample_images(student)


@pytest.mark.parametrize(("correct", "total"), [(0, 10), (10, 10), (913, 1000), (1, 3), (25_000, 50_000)])
def test_wilson_interval(correct, total):
    """Against the formula of Wilson (1927), with the normal distribution's quantile."""
    z = 1.959963984540054
    share, square = correct / total, z * z / total
    middle = (share + square / 2) / (1 + square)
    half = z / (1 + square) * np.sqrt(share * (1 - share) / total + square / total / 4)
    assert wilson_interval(correct, total) == pytest.approx((max(middle - half, 0), min(middle + half, 1)), abs=1e-12)


def test_tables_line_up():
    lines = results_table([evaluation("iteration_0", 0, 913), evaluation("iteration_1", 14, 936)]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert "| -     | -                  |" in lines[2]
    lines = numbers_table([{"iteration": "a", "ece": 0.02}, {"iteration": "b", "nll": 1.5}]).splitlines()
    assert [cell.strip() for cell in lines[2].split("|")] == ["", "a", "0.02", "-", ""]
    assert [cell.strip() for cell in lines[3].split("|")] == ["", "b", "-", "1.5", ""]


def test_iterations_of_which_other_things_are_true(run_folder):
    teacher, student = collect_run(run_folder[0])
    exclude = {"file": "x.jsonl", "sha256": "", "count": 3, "against": ["a", "b"], "distance": -1}
    cleaned = dataclasses.replace(student, name="iteration_2", exclude=exclude)
    assert write.describe_exclusions([teacher]) == []
    (line,) = write.describe_exclusions([teacher, student, student])
    assert line.startswith("Duplicates: not looked for")
    first, second = write.describe_exclusions([teacher, student, cleaned])
    assert first.startswith("iteration_1: Duplicates: not looked for")
    assert (
        second
        == f"iteration_2: Duplicates: 3 images of {student.unlabeled} left out, which a or b holds too (x.jsonl)."
    )
