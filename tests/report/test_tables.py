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
# The ablation goes on where the paper's table ends.
BEYOND_THE_PAPER = {"14/6", "14/14", "14/28"}


def run(folder, key, top1, test="tfds:imagenet2012/validation", file="evaluations/test.json", **more):
    """Writes what the evaluate stage writes into an iteration's folder."""
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"paper_row": key, "top1": top1, "test": test} | more))


@pytest.mark.parametrize("name", experiments.names(REPO / "configs"))
def test_paper_row_of_every_experiment(name):
    for _, config in iterations(experiments.load(name)):
        if config.paper_row:
            assert config.paper_row in KEYS | BEYOND_THE_PAPER


def test_every_experiment_of_the_paper_has_a_row():
    rows = {
        config.paper_row
        for name in experiments.names(REPO / "configs")
        for _, config in iterations(experiments.load(name))
    }
    for table in ("6", "7", "9", "10", "11", "12", "13", "14", "15", "16", "17", "soft_hard"):
        assert any(row.key in rows for row in TABLES[table].rows), table
    assert rows >= {row.key for row in TABLES["9"].rows}


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
        assert {row[-1] for row in rows} == {"-"}


def test_unverified_figures_are_marked():
    assert "B4,3:1,83.2?,84.4?,-" in tables.render(TABLES["14"], {}, "csv").splitlines()
    assert "recalled, not verified" in tables.render(TABLES["14"], {}, "markdown")
    assert "not verified in any source" not in tables.render(TABLES["6"], {}, "text")


def test_runs_stand_beside_the_paper(tmp_path):
    run(tmp_path / "a", "16/student", 0.785, type="classification")
    run(tmp_path / "b" / "iteration_1", "16/student", 0.791, type="classification")
    run(tmp_path / "c", "16/teacher", 0.5, "folder:/test", file="evaluation.json")  # version 0.1
    run(tmp_path / "d", "", 0.1)
    results = tables.find_results(str(tmp_path / "*"))
    _, (teacher, student) = tables.build(TABLES["16"], results)
    assert teacher == ["supervised", "77.6", "93.8", "50.0 (folder:/test)"]
    assert student[-1] == "78.8 ± 0.4, 2 runs (tfds:imagenet2012/validation)"


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
