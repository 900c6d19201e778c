"""The page of a run: what it says, of runs that have everything and of runs that have little."""

import html.parser
import json
import re
import shutil

import numpy as np
import pytest
from etils import epath

from ns_jax.evaluators.predictions import Predictions
from ns_jax.report import write
from ns_jax.report.page import intervals, recipe, results
from ns_jax.report.page.cost import duration
from ns_jax.report.page.markup import Markup, element, table
from ns_jax.report.page.run_data import iteration_titles, read_run
from ns_jax.report.page.summary import sentence, warnings
from ns_jax.report.page.write import page, write_page
from tests.report.made_run import CLASSES, probabilities, write_evaluation

VOID = {"meta", "link", "img", "br"}


class Checker(html.parser.HTMLParser):
    """Collects tags and ids, and whether every element is closed."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.ids, self.text = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def text(made_run):
    return page(read_run(made_run))


def test_it_is_whole_and_needs_nothing_else(text):
    parsed = Checker(text)
    assert not parsed.open
    assert len(parsed.ids) == len(set(parsed.ids)), "an id occurs twice"
    for tag, attributes in parsed.tags:
        assert tag != "script"
        if tag == "img":
            assert attributes["src"].startswith("data:image/jpeg;base64,") and attributes["alt"]
        for name in ("href", "xlink:href", "src"):
            address = attributes.get(name, "")
            assert not re.match(r"\w+:", address) or address.startswith("data:"), address
            if address.startswith("#"):
                assert address[1:] in parsed.ids
    assert "could not be made" not in text and "No pictures" not in text
    assert text.count("<svg") == text.count('role="img"') >= 5
    assert ("html", {"lang": "en"}) in parsed.tags
    assert len(text) < 400_000


def test_names_of_classes_are_text(text):
    assert "<b>bone" not in text and "dög &amp; &lt;b&gt;bone&lt;/b&gt;" in text
    assert "&lt;90&gt; images" in text


def test_summary(made_run):
    run = read_run(made_run)
    said = sentence(run)
    teacher, student, control = (iteration.result["top1"] for iteration in run.iterations)
    assert said.startswith(f"Student 1 (efficientnet-small) reaches {100 * student:.1f} % (")
    assert "on 90 test images" in said
    assert f"{100 * (student - teacher):.1f} points above its teacher (" in said
    assert f"{100 * (student - control):.1f} points above the supervised control (" in said
    first, *others = warnings(run)
    assert first == "the validation set is small: <90> images."
    assert others == ["student 1 saw no pseudo-label of class owl."]


def copied(made_run, tmp_path) -> epath.Path:
    return epath.Path(shutil.copytree(made_run, tmp_path / "run"))


def test_a_student_that_is_worse_is_not_passed_over(made_run, tmp_path):
    run = copied(made_run, tmp_path)
    predictions = read_run(run).iterations[1].predictions()
    worse = Predictions(predictions.ids, predictions.labels, np.roll(predictions.probs, 1, axis=1), CLASSES)
    write_evaluation(run / "iteration_1", "test", "iteration_1", "folder:/gone", worse)
    (run / "choice.json").unlink()
    opened = read_run(run)
    assert "points below its teacher (" in sentence(opened)
    assert any(re.match(r"on the test images student 1 is [\d.]+ points below teacher \(", w) for w in warnings(opened))
    assert any("not clearly better than always answering" in warning for warning in warnings(opened))
    made = page(opened)
    assert "No pictures: folder:/gone: there is no such folder" in made
    assert "the run ends with the last one, whether or not it is the best" in made


def test_a_teacher_that_is_kept(made_run, tmp_path):
    run = copied(made_run, tmp_path)
    choice = json.loads((run / "choice.json").read_text())
    (run / "choice.json").write_text(json.dumps(choice | {"iteration": "iteration_0"}))
    opened = read_run(run)
    assert sentence(opened).startswith("Teacher (efficientnet-small) reaches ")
    assert sentence(opened).endswith("; no later student was better on the validation images.")
    assert "its teacher" not in sentence(opened)


def test_what_is_not_there_is_left_out(made_run, tmp_path):
    """A run that has only just begun, and one of an older version."""
    run = copied(made_run, tmp_path)
    for path in run.glob("*/evaluations/*.npz"):
        path.unlink()
    for path in run.glob("*/evaluations/*.json"):
        keep = ("top1", "top5", "correct", "count", "test", "variant", "unlabeled_ratio", "pseudo_labels",
                "pseudo_labels_kept", "iteration")  # fmt: skip
        path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key in keep}))
    for path in [*run.glob("*/took.json"), run / "choice.json"]:
        path.unlink()
    made = page(read_run(run))
    assert "could not be made" not in made and "Confusion" not in made and "Time and memory" not in made
    for name in ("iteration_0", "iteration_1", "control"):
        shutil.rmtree(run / name)
    made = page(read_run(run))
    assert "could not be made" not in made and "Nothing has been evaluated yet" in made and "ns_jax.main" in made


def test_without_test_images_those_of_validation_count(made_run, tmp_path):
    run = copied(made_run, tmp_path)
    for path in run.glob("*/evaluations/test.*"):
        path.unlink()
    opened = read_run(run)
    assert "on 90 validation images, " in sentence(opened)
    made = page(opened)
    assert "could not be made" not in made and "so these images chose the model" in made
    assert "Validation images that student 1 gets wrong" in made and "test images" not in made.replace(
        "Duplicates of test images", ""
    )


def test_a_section_that_fails_leaves_the_others(made_run, tmp_path, monkeypatch):
    run = copied(made_run, tmp_path)
    (run / "iteration_0" / "took.json").write_text("{")
    made = page(read_run(run))
    assert made.count("This section could not be made: ") == 1 and "took.json is damaged" in made
    assert "Confusion matrix" in made


def test_a_page_that_fails_ends_no_run(made_run, tmp_path, capsys):
    run = copied(made_run, tmp_path)
    (run / "choice.json").write_text("{")
    write.write_report(run)
    assert (run / "report" / "results.md").exists() and not (run / "report" / "index.html").exists()
    assert (run / "report" / "labels.csv").exists()
    assert "report: " in capsys.readouterr().out


def test_many_classes_are_shortened(made_run, tmp_path):
    run = copied(made_run, tmp_path)
    names = tuple(f"class {number:03d}" for number in range(120))
    labels = np.arange(600, dtype=np.int32) % 120
    ids = np.array([f"{number}".encode() for number in range(600)])
    for number, name in enumerate(("iteration_0", "iteration_1")):
        predictions = Predictions(ids, labels, probabilities(labels, 1.0 + number, number, 120), names)
        write_evaluation(run / name, "test", name, "folder:/gone", predictions)
    made = page(read_run(run))
    assert "could not be made" not in made
    assert "The 20 classes of lowest F1, of 120" in made and "The 20 classes of highest F1" in made
    assert "Confusion matrix" not in made and "The most frequent mistakes" in made


def test_written_beside_the_other_results(made_run, tmp_path):
    run = copied(made_run, tmp_path)
    write.write_report(run)
    made = (run / "report" / "index.html").read_text()
    for name in ("labels.csv", "labels.parquet", "label_issues.csv", "results.md"):
        assert (run / "report" / name).exists() and f'href="{name}"' in made
    assert write_page(run) == run / "report" / "index.html"


def test_auroc_interval_is_that_of_drawing_again():
    """Against scikit-learn's AUROC of resampled images, ties among them."""
    from sklearn.metrics import roc_auc_score

    labels = np.arange(200) % 2
    probs = np.round(probabilities(labels, 0.5, 0, 2), 2)
    random, drawn = np.random.default_rng(1), []
    for _ in range(1000):
        places = np.concatenate([random.choice(np.flatnonzero(labels == k), 100) for k in (0, 1)])
        drawn.append(roc_auc_score(labels[places], probs[places, 1]))
    assert intervals.auroc_interval(probs, labels) == pytest.approx(np.percentile(drawn, (2.5, 97.5)), abs=0.01)
    order, starts = intervals._order_with_ties(probs[:, 1])
    once = intervals._auroc(np.ones((1, 200), np.float32), labels == 1, order, starts)
    assert once[0] == pytest.approx(roc_auc_score(labels, probs[:, 1]))


def test_intervals_hold_their_figure():
    labels = np.arange(300) % 3
    probs = probabilities(labels, 1.0, 0)
    answers = probs.argmax(1)
    low, high = intervals.balanced_accuracy_interval(labels, answers, 3)
    assert low < (answers == labels).mean() < high and high - low < 0.15
    correct, other = answers == labels, probabilities(labels, 0.5, 1).argmax(1) == labels
    low, high = intervals.difference_interval(correct, other)
    assert low < correct.mean() - other.mean() < high
    assert intervals.difference_interval(correct, correct) == (0, 0)
    assert intervals.auroc_interval(probs[:1], labels[:1]) is None


def test_titles():
    chain = [("iteration_0", False), ("iteration_1", True), ("iteration_2", True), ("control", False)]
    assert iteration_titles(chain) == ["teacher", "student 1", "student 2", "control"]
    assert iteration_titles([("", False)]) == ["model"] and iteration_titles([("", True)]) == ["student"]
    assert iteration_titles([("big_teacher", False), ("small", True)]) == ["big teacher", "small"]


def test_versions_and_commands(made_run):
    run = read_run(made_run)
    lines = recipe.commands(run)
    assert "python -m ns_jax.predict --model=RUN/iteration_1/model FOLDER --csv=answers.csv" in lines
    named = dict(recipe.versions())
    assert re.match(r"\d+\.\d+", named["jax"]) and named["ns_jax"]
    shown = recipe.config_table(run)
    assert "min_confidence" in shown and "noise.randaugment_form" not in shown and "chain.control" in shown
    assert str(made_run) not in page(run)  # where the run lies is nobody's business


def test_markup():
    assert element("p", "a<b", Markup("<br>"), class_="x&y") == '<p class="x&amp;y">a&lt;b<br></p>'
    made = table(["a", "b"], [["<", 1]], "c", marked=[True])
    assert '<th scope="row">&lt;</th><td class="figure">1</td>' in made and '<tr class="marked">' in made
    assert [duration(seconds) for seconds in (3.21, 75, 7265)] == ["3.2 s", "1 min 15 s", "2 h 1 min"]


def test_results_of_an_evaluation_of_ones_own(made_run, tmp_path):
    run = copied(made_run, tmp_path)
    for name in ("iteration_0", "iteration_1", "control"):
        (run / name / "evaluations" / "validation.json").write_text(json.dumps({"iteration": name, "score": 0.25}))
    made = results.section(read_run(run))
    assert "score" in made and "0.25" in made
