"""Probabilities of some images of a shard in a bucket, without the rest of the file."""

import functools
import io
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ns_jax import buckets
from ns_jax.pseudo_labels.columns import pack
from ns_jax.pseudo_labels.probabilities import probabilities_problem, unpack_probabilities
from ns_jax.pseudo_labels.store import damaged

HEADER = 4096  # bytes that are fetched first: the header of a `.npy`, and more
GAP = 1 << 18  # bytes between two rows that are rather read than asked around


class _Column(NamedTuple):
    """Where a field of a file is: byte offset of its first row, dtype and shape of a row, number of rows."""

    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]
    num_rows: int


class RemoteProbabilities:
    """Reads rows of files that `pack_probabilities` has made. What a file's header says is kept: 20,000 take 20 MB."""

    def __init__(self):
        self._columns = functools.lru_cache(65536)(_columns)

    def read(self, path: Any, rows: np.ndarray) -> np.ndarray:
        """Probabilities of rows of a file, int64 [N] in any order: float32 [N, classes].

        Raises:
          UserError: it is damaged.
          FileNotFoundError: it is missing.
          KeyError: a row has no probabilities.
        """
        columns, wanted = self._columns(path), np.unique(rows)
        places = wanted
        if "row" in columns:
            there = _read(path, columns["row"], np.arange(columns["row"].num_rows))
            wanted = np.intersect1d(wanted, there)  # unpacking names a row that is missing
            places = np.searchsorted(there, wanted)
        some = {"row": wanted.astype(np.uint32)}
        for name, column in columns.items():
            if name != "row":
                some[name] = _read(path, column, np.arange(column.num_rows) if name == "num_classes" else places)
        return unpack_probabilities(pack(some), rows)


def _columns(path: Any) -> dict[str, _Column]:
    """The fields of a file, by the header of its `.npy`. Raises UserError: it is damaged."""
    head = io.BytesIO(buckets.read(path, 0, HEADER))
    try:
        version = np.lib.format.read_magic(head)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(head)
    except ValueError as error:
        raise damaged(path, " ".join(str(error).split())[:200]) from None
    if problem := probabilities_problem(np.broadcast_to(np.zeros((), dtype), shape)):
        raise damaged(path, problem)
    if dtype.names is None or dtype.fields is None:
        return {"probs": _Column(head.tell(), dtype, shape[1:], shape[0])}
    columns = {}
    for name in dtype.names:
        field, offset = dtype.fields[name][:2]
        columns[name] = _Column(head.tell() + offset, field.base, field.shape[1:], field.shape[0])
    return columns


def _runs(rows: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Yields ascending rows in runs without a gap of more than `most` rows."""
    yield from np.split(rows, np.flatnonzero(np.diff(rows) > most) + 1)


def _read(path: Any, column: _Column, rows: np.ndarray) -> np.ndarray:
    """Some rows of a column, int64 [n] ascending. Raises UserError: the file ends before."""
    size = column.dtype.itemsize * int(np.prod(column.shape, dtype=np.int64))
    parts = [np.empty((0, *column.shape), column.dtype)]
    for run in _runs(rows, GAP // size) if len(rows) else ():
        first, last = int(run[0]), int(run[-1])
        content = buckets.read(path, column.offset + first * size, column.offset + (last + 1) * size)
        if len(content) != (last + 1 - first) * size:
            raise damaged(path, "it is cut off")
        parts.append(np.frombuffer(content, column.dtype).reshape(-1, *column.shape)[run - first])
    return np.concatenate(parts)
