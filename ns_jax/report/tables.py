"""The paper's tables beside this project's runs: python -m ns_jax.report.tables --table=N [--runs=GLOB].

A run belongs to the row that its config names in `paper_row`.
"""

import argparse
import csv
import glob
import io
import statistics
import sys
from pathlib import Path

from ns_jax.errors import UserError
from ns_jax.files import read_json
from ns_jax.report import paper
from ns_jax.report.results import markdown_table

NOTHING = "-"


def find_results(pattern: str) -> dict[str, list[dict]]:
    """{paper_row: evaluations} of the workdirs that match a shell pattern.

    Raises:
      UserError: no folder matches, or none of them holds an evaluation.
    """
    folders = [Path(found) for found in sorted(glob.glob(pattern, recursive=True)) if Path(found).is_dir()]
    if not folders:
        raise UserError(f"--runs={pattern}: no such folder")
    files = {file for folder in folders for depth in ("", "*/") for file in folder.glob(f"{depth}evaluation.json")}
    if not files:
        raise UserError(f"--runs={pattern}: no evaluation.json in {len(folders)} folders, so no run has finished there")
    found = {}
    for file in sorted(files):
        result = read_json(file)
        found.setdefault(result.get("paper_row", ""), []).append(result)
    return found


def cell(results: list[dict]) -> str:
    """Mean top-1 in percent, by test set; with several runs also the standard deviation and their number."""
    by_test = {}
    for result in results:
        by_test.setdefault(result["test"], []).append(100 * result["top1"])
    cells = []
    for test, values in by_test.items():
        spread = f" ± {statistics.stdev(values):.1f}, {len(values)} runs" if len(values) > 1 else ""
        cells.append(f"{statistics.mean(values):.1f}{spread} ({test})")
    return "; ".join(cells) or NOTHING


def build(table: paper.Table, results: dict[str, list[dict]]) -> tuple[list[str], list[list[str]]]:
    """The heading and the rows of a table, as text."""
    header = [*table.labels, *(f"paper: {figure}" for figure in table.figures)]
    rows = [
        [*row.labels, *(NOTHING if figure is None else str(figure) for figure in row.figures)] for row in table.rows
    ]
    if table.ours:
        header.append(table.ours)
        for line, row in zip(rows, table.rows, strict=True):
            line.append(cell(results.get(row.key, [])) if row.key else NOTHING)
    return header, rows


def as_text(header: list[str], rows: list[list[str]]) -> str:
    """Columns that line up."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def as_csv(header: list[str], rows: list[list[str]]) -> str:
    """Comma-separated values."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue().rstrip("\n")


FORMATS = {"text": as_text, "markdown": markdown_table, "csv": as_csv}


def render(table: paper.Table, results: dict[str, list[dict]], form: str) -> str:
    """The table in one of FORMATS; its title and notes with it, but for CSV, which is data alone."""
    body = FORMATS[form](*build(table, results))
    if form == "csv":
        return body
    tags = {figure.tag for row in table.rows for figure in row.figures if figure}
    legend = [f"{paper.MARKS[tag]} {text}." for tag, text in paper.TAGS.items() if tag in tags and paper.MARKS[tag]]
    title = f"{table.title} ({table.where})"
    return "\n\n".join([f"### {title}" if form == "markdown" else title, body, *legend, *table.notes])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m ns_jax.report.tables", description=__doc__.splitlines()[0])
    parser.add_argument("--table", required=True, metavar="N", help=f"one of {', '.join(paper.TABLES)}, or 'all'")
    parser.add_argument("--runs", metavar="GLOB", help="workdirs, as a quoted shell pattern: '/runs/*'")
    parser.add_argument("--format", choices=FORMATS, default="text")
    flags = parser.parse_args(argv)
    try:
        if flags.table != "all" and flags.table not in paper.TABLES:
            raise UserError(f"--table={flags.table}: there are {', '.join(paper.TABLES)}, and 'all'")
        results = find_results(flags.runs) if flags.runs else {}
        wanted = paper.TABLES.values() if flags.table == "all" else [paper.TABLES[flags.table]]
        print("\n\n".join(render(table, results, flags.format) for table in wanted))
        keys = {row.key for table in paper.TABLES.values() for row in table.rows if row.key}
        for key in sorted(results.keys() - keys):
            name = f"paper_row {key!r}, which no table has" if key else "no paper_row"
            print(f"note: {len(results[key])} evaluations with {name}", file=sys.stderr)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
