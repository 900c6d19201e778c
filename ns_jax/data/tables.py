"""Tables of images that people keep: CSV or Parquet, every cell as text."""

import csv
import io
import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from ns_jax.errors import UserError

DELIMITERS = (",", ";", "\t")


class Table(NamedTuple):
    """Columns of a table.

    Attributes:
      names: of all columns that the file has, in order.
      columns: {name: text of each row} of those that were asked for and are there; '' where a cell is empty.
      count: number of rows.
    """

    names: tuple[str, ...]
    columns: dict[str, list[str]]
    count: int


def read_table(path: str, required: Sequence[str], optional: Sequence[str] = ()) -> Table:
    """Reads columns of a table: Parquet where the file is called so, else CSV in UTF-8 with a header.

    Args:
      path: of the file.
      required: columns that it must have.
      optional: columns that it may have; all others are left alone.

    Raises:
      UserError: it is missing, empty, damaged or not UTF-8, or lacks a column (names those that there are).
    """
    if not os.path.isfile(path):
        raise UserError(f"{path}: there is no such file")
    names, columns = _read_parquet(path) if path.lower().endswith(".parquet") else _read_csv(path)
    missing = [name for name in required if name not in names]
    if missing:
        raise UserError(f"{path} has no column {missing[0]!r}: it has {', '.join(names) or 'none'}")
    count = len(columns[0]) if columns else 0
    if not count:
        raise UserError(f"{path} is empty: it needs a row for each image")
    wanted = [name for name in (*required, *optional) if name in names]
    return Table(tuple(names), {name: columns[names.index(name)] for name in wanted}, count)


def _read_csv(path: str) -> tuple[list[str], list[list[str]]]:
    """Names and columns of a CSV file; its first line decides between comma, semicolon and tabulator."""
    with open(path, "rb") as file:
        content = file.read()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{path} is not UTF-8 (line {line}): save it as CSV in UTF-8") from None
    header = text.partition("\n")[0]
    delimiter = next((mark for mark in DELIMITERS if mark in header), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        names = [name.strip() for name in next(reader, [])]
        rows = []
        for row in reader:
            if len(row) > len(names):
                raise UserError(
                    f"{path}, line {reader.line_num}: {len(row)} cells for {len(names)} columns: put text that has a "
                    f"{delimiter!r} in it into quotes"
                )
            if any(row):
                rows.append(row + [""] * (len(names) - len(row)))
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}: save it as CSV again") from None
    return names, [[row[place] for row in rows] for place in range(len(names))]


def _read_parquet(path: str) -> tuple[list[str], list[list[str]]]:
    """Names and columns of a Parquet file."""
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is no whole Parquet file ({reason}): write it again") from None
    return table.column_names, [[_as_text(cell) for cell in column.to_pylist()] for column in table.columns]


def _as_text(cell: Any) -> str:
    """A cell as it would be written in a CSV file; a whole number that became a float stays a whole number."""
    if cell is None or isinstance(cell, float) and math.isnan(cell):
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return cell.decode(errors="replace") if isinstance(cell, bytes) else str(cell)
