"""Source 'manifest:FILE' or 'manifest:FILE:SPLIT': a table of images, CSV or Parquet.

Columns: path (relative to the file's folder, or absolute) and, where there are any, label, group (images of one group
are split together), split (which SPLIT chooses) and weight (how often an image is drawn beside others).
"""

import os
from typing import NamedTuple

import numpy as np

from ns_jax.data.sources.base import Source
from ns_jax.data.sources.files import in_order, printable, source_of_files
from ns_jax.data.tables import read_table
from ns_jax.errors import UserError

OPTIONAL = ("label", "group", "split", "weight")


class Rows(NamedTuple):
    """A row for each image, in the order of the file; '' where a cell is empty or there is no such column."""

    path: list[str]
    label: list[str]
    group: list[str]
    split: list[str]
    weight: list[str]
    has: frozenset[str]

    def chosen(self, keep: list[int]) -> "Rows":
        """Some of the rows."""
        return Rows(*([column[row] for row in keep] for column in self[:-1]), self.has)


def _read_rows(file: str) -> tuple[Rows, int]:
    """The rows of a manifest without repeated ones, and how many of those there were.

    Raises:
      UserError: see `read_table`; a row has no path, or two rows of one image differ.
    """
    table = read_table(file, ("path",), OPTIONAL)
    columns = {name: table.columns.get(name, [""] * table.count) for name in ("path", *OPTIONAL)}
    for name in ("label", "group", "split", "weight"):
        columns[name] = [cell.strip() for cell in columns[name]]
    rows = Rows(**columns, has=frozenset(table.columns))
    if "" in rows.path:
        raise UserError(f"{file}: row {rows.path.index('') + 1} has no path: fill it in, or take the row out")
    first: dict[str, int] = {}
    for row, path in enumerate(rows.path):
        earlier = first.setdefault(os.path.normpath(path), row)
        for name in OPTIONAL if earlier != row else ():
            before, now = columns[name][earlier], columns[name][row]
            if before != now:
                raise UserError(
                    f"{file}: {printable(path)!r} has two {name}s, {before!r} and {now!r}: keep one of the rows"
                )
    return rows.chosen(list(first.values())), table.count - len(first)


def _choose_split(file: str, rows: Rows, split: str) -> Rows:
    """The rows of a split, or all rows where none is named and there is one at most."""
    splits = in_order([name for name in rows.split if name])
    if not split:
        if len(splits) > 1:
            raise UserError(f"{file} has the splits {', '.join(splits)}: name one, as manifest:{file}:{splits[0]}")
        return rows
    if split not in splits:
        there_are = f"there are {', '.join(splits)}" if splits else "it has no column 'split' with something in it"
        raise UserError(f"{file} has no split {split!r}: {there_are}")
    return rows.chosen([row for row, name in enumerate(rows.split) if name == split])


def _check_files(file: str, paths: list[str]) -> None:
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        raise UserError(
            f"{file}: {len(missing)} of {len(paths)} paths are no files, first {printable(missing[0])}: paths are "
            "relative to the folder that the manifest is in"
        )


def _weights(file: str, rows: Rows) -> np.ndarray | None:
    """float32 of each row, 1 where a cell is empty; None without the column."""
    if "weight" not in rows.has:
        return None
    weights = np.ones(len(rows.path), np.float32)
    for row, text in enumerate(rows.weight):
        try:
            weights[row] = float(text or 1)
        except ValueError:
            weights[row] = np.nan
        if not (np.isfinite(weights[row]) and weights[row] >= 0):
            raise UserError(
                f"{file}: the weight of {printable(rows.path[row])!r} is {text!r}: it must be a number of at least 0"
            )
    return weights


def _split_name(rest: str) -> tuple[str, str]:
    """The file and the split of 'FILE' or 'FILE:SPLIT'."""
    if os.path.isfile(os.path.expanduser(rest)) or ":" not in rest:
        return os.path.expanduser(rest), ""
    file, _, split = rest.rpartition(":")
    return os.path.expanduser(file), split


def open_manifest(rest: str, data_dir: str) -> Source:
    """Opens the images of a manifest as it is now; `data_dir` is not used.

    Raises:
      UserError: see `read_table`; an unknown split or path, two rows of one image that differ, a weight that is no
        number, or rows with and without labels.
    """
    del data_dir
    file, split = _split_name(rest)
    all_rows, num_repeated = _read_rows(file)
    rows = _choose_split(file, all_rows, split)
    num_unlabeled = rows.label.count("")
    if 0 < num_unlabeled < len(rows.path):
        raise UserError(
            f"{file}: {num_unlabeled} of {len(rows.path)} rows have no label: tell them apart in a column 'split', as "
            f"labeled and unlabeled, and name manifest:{file}:labeled"
        )
    folder = os.path.dirname(file)
    paths = [os.path.join(folder, path) for path in rows.path]
    _check_files(file, paths)
    # Of all splits, so that each has the same classes.
    classes = () if num_unlabeled else in_order([label for label in all_rows.label if label])
    number = {name: label for label, name in enumerate(classes)}
    notes = []
    if num_repeated:
        notes.append(f"rows left out that repeat others: {num_repeated}")
    if split and (without := all_rows.split.count("")):
        notes.append(f"rows left out that have no split: {without}")
    return source_of_files(
        f"manifest:{rest}",
        paths=paths,
        ids=rows.path,
        labels=[number[label] if classes else -1 for label in rows.label],
        class_names=classes,
        groups=_groups(rows),
        weights=_weights(file, rows),
        notes=tuple(notes),
    )


def _groups(rows: Rows) -> tuple[str, ...] | None:
    """The group of each row, its own path where a cell is empty; None without the column."""
    if "group" not in rows.has:
        return None
    return tuple(group or path for group, path in zip(rows.group, rows.path, strict=True))
