"""The paper's tables and the runs beside them."""

import csv
import io
import json

import pytest

from ns_jax.errors import UserError
from ns_jax.experiment.chain import iterations
from ns_jax.report import paper, tables
from tests import experiments
from tests.conftest import REPO

TABLES = paper.paper_tables()
KEYS = {row.key for table in TABLES.values() for row in table.rows if row.key}


def run(folder, key, top1, test="tfds:imagenet2012/validation", file="evaluations/test.json", **more):
    """Writes what the evaluate stage writes into an iteration's folder."""
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"paper_row": key, "top1": top1, "test": test} | more))


def test_every_row_with_a_key_has_a_config_and_the_other_way_round():
    rows = {
        config.paper_row: name
        for name in experiments.names(REPO / "configs")
        for _, config in iterations(experiments.load(name))
    }
    rows.pop("")
    assert set(rows) == KEYS


@pytest.mark.parametrize("name", TABLES)
def test_rows_without_a_config_say_why(name):
    table = TABLES[name]
    has_rows_without = table.ours and any(not row.key for row in table.rows)
    assert bool(table.no_config) == bool(has_rows_without)
    if table.no_config:
        assert f"Rows without a config: {table.no_config}" in tables.render(table, {}, "text")


def test_figures_from_notes_on_the_paper_have_a_mark_of_their_own():
    """Tables that no source shows as the paper prints them: audit of the sources in paper.toml."""
    for name in ("11", "13", "15", "16"):
        own = [row for row in TABLES[name].rows if not row.key.startswith("9/")]
        assert {figure.tag for row in own for figure in row.figures} == {"N"}
    text = tables.render(TABLES["16"], {}, "text")
    assert "78.9~" in text and "~ from notes on the paper, not read in it." in text


@pytest.mark.parametrize("name", TABLES)
def test_table(name):
    table = TABLES[name]
    for row in table.rows:
        assert len(row.labels) == len(table.labels)
        assert len(row.figures) == len(table.figures)
    header, *rows = csv.reader(io.StringIO(tables.render(table, {}, "csv")))
    assert len(rows) == len(table.rows)
    assert all(len(row) == len(header) for row in rows)
    if table.ours:
        ours = len(table.labels) + len(table.figures)
        assert {cell for row in rows for cell in row[ours:]} == {"-"}
        assert len(header) == ours + 1 + len(table.more)


def test_unverified_figures_are_marked():
    assert "B4,3:1,83.2?,84.4?,-" in tables.render(TABLES["14"], {}, "csv").splitlines()
    assert "recalled, not verified" in tables.render(TABLES["14"], {}, "markdown")
    assert "not verified in any source" not in tables.render(TABLES["6"], {}, "text")


def test_runs_stand_beside_the_paper(tmp_path):
    run(tmp_path / "a", "16/student", 0.785, type="classification")
    run(tmp_path / "b" / "iteration_1", "16/student", 0.791, type="classification")
    run(tmp_path / "c", "16/teacher", 0.5, "folder:/test", file="evaluation.json")  # version 0.1
    run(tmp_path / "d", "", 0.1)
    results = tables.find_measured(str(tmp_path / "*"))
    _, (teacher, student) = tables.build(TABLES["16"], results)
    assert teacher == ["supervised", "77.6~", "93.8~", "50.0 (folder:/test)"]
    assert student[-1] == "78.8 ± 0.4, 2 runs (tfds:imagenet2012/validation)"


def test_robustness_stands_beside_the_paper(tmp_path):
    """Of a run's evaluations and of a folder that ns_jax.evaluate has written, which has results of its own."""
    key, of_set = "7/iteration 3", "imagenet_c:/c"
    for name, kind, more in (
        ("imagenet_a", "own_classes", {"top1": 0.8371, "top5": 0.95}),
        ("imagenet_c_224", "corruptions", {"mce": 30.04, "mean_top1": 0.765}),
        ("imagenet_p_299", "perturbations", {"mfr": 12.24}),
        ("fgsm", "fgsm", {"epsilon_0": 0.884, "epsilon_2": 0.8}),
        ("imagenet", "classification", {"top1": 0.884}),
    ):
        result = {"paper_row": key, "test": of_set, "evaluation": name, "type": kind} | more
        place = "evaluations" if name == "fgsm" else "."
        path = tmp_path / "results" / place / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result))
    measured = tables.find_measured(str(tmp_path / "*"))

    def ours(table, row):
        _, rows = tables.build(TABLES[table], measured)
        return [text.removesuffix(f" ({of_set})") for text in rows[row][-len(TABLES[table].measures) :]]

    assert ours("1", 1) == ["88.4", "83.7", "-", "12.2"]
    assert ours("2", -1) == ["88.4"] and ours("3", -1) == ["83.7", "95.0"]
    assert ours("4", 5) == ["30.0", "76.5"] and ours("4", 7) == ["-", "-"] and ours("5", -1) == ["12.2"]
    assert ours("fgsm", 6) == ["80.0"] and ours("fgsm", 7) == ["-"] and ours("fgsm", -1) == ["-"]


def test_only_the_classification_called_test_counts(tmp_path):
    run(tmp_path / "a", "16/student", 0.785)
    run(tmp_path / "a", "16/student", 0.2, file="evaluations/hard.json", type="classification")
    run(tmp_path / "b", "16/student", 0.3, type="my_package.calibration:evaluate")
    (results,) = tables.find_results(str(tmp_path / "*")).values()
    assert [result["top1"] for result in results] == [0.785]


def test_notes_name_runs_that_no_table_has(tmp_path, capsys):
    run(tmp_path / "a", "16/nothing", 0.5)
    tables.main(["--table=all", f"--runs={tmp_path}/*"])
    printed = capsys.readouterr()
    assert all(table.title in printed.out for table in TABLES.values())
    assert "16/nothing" in printed.err


def test_bad_input(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no run has finished"):
        tables.find_results(str(tmp_path / "*"))
    (tmp_path / "empty" / "evaluations").mkdir()
    for content, message in (('{"test": "a"}', "no top1"), ("[]", "no test set"), ("{", "is damaged")):
        (tmp_path / "empty" / "evaluations" / "test.json").write_text(content)
        with pytest.raises(UserError, match=f"test.json .*{message}"):
            tables.find_results(str(tmp_path / "*"))
    for arguments in (["--table=99"], ["--table=6", "--runs=/nowhere/*"]):
        with pytest.raises(SystemExit) as stopped:
            tables.main(arguments)
        assert stopped.value.code == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
