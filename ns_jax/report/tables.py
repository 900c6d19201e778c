"""The paper's tables beside this project's runs: python -m ns_jax.report.tables --table=N [--runs=GLOB].

A run belongs to the row that its config names in `paper_row`.
"""

import argparse
import csv
import glob
import io
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from etils import epath

from ns_jax.errors import UserError
from ns_jax.files import read_json
from ns_jax.report import paper
from ns_jax.report.results import markdown_table

NOTHING = "-"
RESULT_FILES = ("evaluations/test.json", "evaluation.json")
# Evaluations of the measures of paper.toml that go by another name, or by the words of a row.
NAMES = {"imagenet": "test", "FGSM, 1 step": "fgsm", "PGD, 10 iterations": "pgd"}
IN_PERCENT = ("mce", "mfr")  # already; all others are shares

Results = dict[str, list[dict]]  # {paper_row: results}


def find_results(pattern: str) -> Results:
    """{paper_row: results of the test set} of the workdirs that match a shell pattern.

    They are in WORKDIR/evaluations/test.json, or in a folder of each iteration; version 0.1 wrote evaluation.json.

    Raises:
      UserError: no folder matches, none of them holds a result, or one is not of the evaluate stage.
    """
    folders = matching_folders(pattern)
    by_row = read_test_results(folders)
    if not by_row and not any(result_files(folder) for folder in folders):
        names = " or ".join(RESULT_FILES)
        raise UserError(f"--runs={pattern}: no {names} in {len(folders)} folders, so no run has finished there")
    return by_row


def matching_folders(pattern: str) -> list[Path]:
    """The folders that match a shell pattern. Raises UserError where there are none."""
    folders = [Path(match) for match in sorted(glob.glob(pattern, recursive=True)) if Path(match).is_dir()]
    if not folders:
        raise UserError(f"--runs={pattern}: no such folder")
    return folders


def read_test_results(folders: list[Path]) -> Results:
    """{paper_row: results of the test set}."""
    by_row: Results = {}
    for file in sorted({file for folder in folders for file in result_files(folder)}):
        result = read_result(file)
        if result.get("type", "classification") == "classification":
            by_row.setdefault(result.get("paper_row", ""), []).append(result)
    return by_row


def find_measured(pattern: str) -> dict[str, Results]:
    """{evaluation: {paper_row: results}} of runs, and of folders that python -m ns_jax.evaluate has written.

    Raises:
      UserError: no folder matches, or none of them holds a result.
    """
    folders = matching_folders(pattern)
    measured: dict[str, Results] = {"test": read_test_results(folders)}
    places = ("*.json", "evaluations/*.json", "*/evaluations/*.json")
    for file in sorted({file for folder in folders for place in places for file in folder.glob(place)}):
        result = read_json(epath.Path(file))
        if not isinstance(result, dict) or not {"evaluation", "type", "test"} <= set(result):
            continue
        name = NAMES.get(result["evaluation"], result["evaluation"])
        if name != "test" or file.name == "imagenet.json":  # test.json is read above
            measured.setdefault(name, {}).setdefault(result.get("paper_row", ""), []).append(result)
    if not any(measured.values()):
        find_results(pattern)  # says what is missing
    return measured


def read_result(file: Path) -> dict:
    """Reads a result. Raises UserError, with its path, where the evaluate stage did not write it."""
    result = read_json(epath.Path(file))
    has_fields = isinstance(result, dict) and "test" in result
    if not has_fields or (result.get("type", "classification") == "classification" and "top1" not in result):
        raise UserError(f"{file} has no test set or no top1, so the evaluate stage did not write it")
    return result


def result_files(workdir: Path) -> list[Path]:
    """Files with results of the test set, in a workdir and in the folders of its iterations."""
    places = [f"{folder}{name}" for folder in ("", "*/") for name in RESULT_FILES]
    return [file for place in places for file in workdir.glob(place)]


def cell(results: list[dict], key: str = "top1") -> str:
    """Mean of a number, by test set; with several runs also the standard deviation and their number.

    Args:
      results: of evaluations.
      key: of the number; in percent, as all that is shown.
    """
    by_test: dict[str, list[float]] = {}
    for result in results:
        if key in result:
            by_test.setdefault(result["test"], []).append((1 if key in IN_PERCENT else 100) * result[key])
    cells = []
    for test, values in by_test.items():
        spread = f" ± {statistics.stdev(values):.1f}, {len(values)} runs" if len(values) > 1 else ""
        cells.append(f"{statistics.mean(values):.1f}{spread} ({test})")
    return "; ".join(cells) or NOTHING


def build(table: paper.Table, measured: dict[str, Results]) -> tuple[list[str], list[list[str]]]:
    """The heading and the rows of a table, as text."""
    header = [*table.labels, *(f"paper: {figure}" for figure in table.figures)]
    header += [heading for heading, _ in table.measures]
    rows = []
    for row in table.rows:
        figures = [NOTHING if figure is None else str(figure) for figure in row.figures]
        ours = [cell_of(row, measure, measured) for _, measure in table.measures]
        rows.append([*row.labels, *figures, *ours])
    return header, rows


def cell_of(row: paper.Row, measure: str, measured: dict[str, Results]) -> str:
    """This project's cell of a row; `measure` as in `paper.Table`."""
    if not row.key:
        return NOTHING
    evaluation, _, key = measure.format(*row.labels).partition(":")
    return cell(measured.get(NAMES.get(evaluation, evaluation), {}).get(row.key, []), key)


def as_text(header: list[str], rows: list[list[str]]) -> str:
    """Columns that line up."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ([cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines)
    return "\n".join("  ".join(cells).rstrip() for cells in padded)


def as_csv(header: list[str], rows: list[list[str]]) -> str:
    """Comma-separated values."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue().rstrip("\n")


FORMATS: dict[str, Callable[[list[str], list[list[str]]], str]] = {
    "text": as_text,
    "markdown": markdown_table,
    "csv": as_csv,
}


def render(table: paper.Table, measured: dict[str, Results], layout: str) -> str:
    """The table in one of FORMATS; its title and notes with it, but for CSV, which is data alone."""
    body = FORMATS[layout](*build(table, measured))
    if layout == "csv":
        return body
    tags = {figure.tag for row in table.rows for figure in row.figures if figure}
    legend = [f"{paper.MARKS[tag]} {text}." for tag, text in paper.TAGS.items() if tag in tags and paper.MARKS[tag]]
    title = f"{table.title} ({table.where})"
    without = [f"Rows without a config: {table.no_config}"] if table.no_config else []
    return "\n\n".join([f"### {title}" if layout == "markdown" else title, body, *legend, *table.notes, *without])


def note_strangers(results: Results) -> None:
    """Says on stderr which results stand in no table."""
    keys = {row.key for table in paper.paper_tables().values() for row in table.rows if row.key}
    for key in sorted(results.keys() - keys):
        name = f"paper_row {key!r}, which no table has" if key else "no paper_row"
        print(f"note: {len(results[key])} evaluations with {name}", file=sys.stderr)


def main(argv: list[str] | None = None) -> None:
    tables = paper.paper_tables()
    parser = argparse.ArgumentParser(prog="python -m ns_jax.report.tables", description=__doc__.splitlines()[0])
    parser.add_argument("--table", required=True, metavar="N", help=f"one of {', '.join(tables)}, or 'all'")
    parser.add_argument("--runs", metavar="GLOB", help="workdirs, as a quoted shell pattern: '/runs/*'")
    parser.add_argument("--format", choices=FORMATS, default="text")
    flags = parser.parse_args(argv)
    try:
        if flags.table != "all" and flags.table not in tables:
            raise UserError(f"--table={flags.table}: there are {', '.join(tables)}, and 'all'")
        measured = find_measured(flags.runs) if flags.runs else {}
        wanted = tables.values() if flags.table == "all" else [tables[flags.table]]
        print("\n\n".join(render(table, measured, flags.format) for table in wanted))
        note_strangers(measured.get("test", {}))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
