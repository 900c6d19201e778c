"""report/labels.csv and labels.parquet: the pseudo-label of every unlabeled image."""

import csv
import io
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow
import pyarrow.parquet
from etils import epath

from ns_jax.files import new_file
from ns_jax.pseudo_labels.joined import copies_of, ids_of
from ns_jax.pseudo_labels.store import LabelStore, Selection

MAX_ROWS = 5_000_000
COLUMNS = ("path", "label", "confidence", "entropy", "runner_up", "copies", "iteration")


Ids = Callable[[np.ndarray], np.ndarray]


def shard_rows(folder: epath.Path, source_ids: Ids | None = None) -> Iterator[dict[str, np.ndarray]]:
    """Yields the pseudo-labels of an iteration's folder, shard by shard.

    Args:
      folder: of the iteration.
      source_ids: int64 indices [N] to ids [N]; without it images of which no id is kept are called #INDEX.

    Yields:
      id: byte strings [n].
      label: int [n], most probable class.
      confidence: float32 [n], its probability.
      entropy: float64 [n], nats.
      runner_up: int [n], second most probable class; the label itself where there is one class.
      copies: uint32 [n], how often the student trained on the image.
    """
    store, selection = LabelStore(folder / "labels"), Selection(folder / "selection")
    for shard, (start, stop) in enumerate(store.manifest("ranges")["ranges"]):
        columns = store.read_shard(shard)
        yield {
            "id": ids_of(store, start + columns.rows, source_ids),
            "label": columns["label"],
            "confidence": columns["confidence"],
            "entropy": columns["entropy"],
            "runner_up": columns["runner_up"],
            "copies": copies_of(selection, shard, columns, stop - start),
        }


def write_labels(
    iteration_folder: epath.Path, iteration: str, report: epath.Path, source_ids: Ids | None = None
) -> int | None:
    """Writes labels.csv and labels.parquet of an iteration's complete labels and selection, shard by shard.

    Args:
      iteration_folder: of the iteration.
      iteration: its name, for the last column.
      report: folder that the files go to.
      source_ids: see `shard_rows`.

    Returns:
      The number of rows; None where there are more than five million, and nothing is written.
    """
    manifest = LabelStore(iteration_folder / "labels").manifest()
    count = sum(stop - start for start, stop in manifest["ranges"])
    if count > MAX_ROWS:
        return None
    names = np.array(manifest["class_names"], object)
    written = 0
    with new_file(report / "labels.csv") as csv_file, new_file(report / "labels.parquet") as parquet_file:
        csv_file.write((",".join(COLUMNS) + "\n").encode())
        with pyarrow.parquet.ParquetWriter(parquet_file, SCHEMA) as parquet:
            for rows in shard_rows(iteration_folder, source_ids):
                columns = {
                    "path": [os_path(name) for name in rows["id"].tolist()],
                    "label": names[rows["label"]],
                    "confidence": rows["confidence"],
                    "entropy": rows["entropy"].astype(np.float32),
                    "runner_up": names[rows["runner_up"]],
                    "copies": rows["copies"],
                    "iteration": [iteration] * len(rows["id"]),
                }
                csv_file.write(csv_lines(columns))
                clean = columns | {"path": [printable(name) for name in rows["id"].tolist()]}
                parquet.write_table(pyarrow.table(clean, SCHEMA))
                written += len(rows["id"])
    return written


SCHEMA = pyarrow.schema(
    [
        ("path", pyarrow.string()),
        ("label", pyarrow.string()),
        ("confidence", pyarrow.float32()),
        ("entropy", pyarrow.float32()),
        ("runner_up", pyarrow.string()),
        ("copies", pyarrow.uint32()),
        ("iteration", pyarrow.string()),
    ]
)


def os_path(name: bytes) -> str:
    """An id as text, from which `csv_lines` makes the same bytes again."""
    return name.decode(errors="surrogateescape")


def printable(name: bytes) -> str:
    """An id as text that is valid UTF-8."""
    return name.decode(errors="backslashreplace")


def csv_lines(columns: dict[str, object]) -> bytes:
    """Lines of a CSV file, from columns of equal length; figures with six digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in zip(*columns.values(), strict=True):
        writer.writerow([f"{cell:.6g}" if isinstance(cell, float | np.floating) else cell for cell in row])
    return text.getvalue().encode(errors="surrogateescape")


def write_csv(path: epath.Path, columns: dict[str, object]) -> None:
    """Writes a CSV file with a header, in one step."""
    with new_file(path) as file:
        file.write((",".join(columns) + "\n").encode())
        file.write(csv_lines(columns))
