"""From pseudo-labels to the copies of every image, shard by shard; an interrupted selection goes on."""

import hashlib
import io
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ns_jax.errors import UserError
from ns_jax.files import sync, write_bytes
from ns_jax.pseudo_labels.chunks import Chunk, Labels
from ns_jax.pseudo_labels.columns import Columns
from ns_jax.pseudo_labels.draws import draw_share
from ns_jax.pseudo_labels.joined import ids_of
from ns_jax.pseudo_labels.progress import Progress
from ns_jax.pseudo_labels.store import LabelStore, Selection
from ns_jax.pseudo_labels.survey import KINDS, Survey

SAMPLES = "samples.npz"  # in the folder of a selection: images for the report
KEPT_EVERY = 30.0  # seconds of writing that an interruption may cost


class Written(NamedTuple):
    """What was selected.

    Attributes:
      sha256: uint8 [shards, 32].
      per_class: int64 [classes], copies.
      kept: int64 [], images with at least one copy.
      copies: int64 [], of all.
      chunks: int64 [], how many are written.
    """

    sha256: np.ndarray
    per_class: np.ndarray
    kept: np.ndarray
    copies: np.ndarray
    chunks: np.ndarray


def write_copies(
    selection: Selection,
    store: LabelStore,
    labels: Labels,
    choose: Callable[[Chunk], np.ndarray],
    share: float,
    progress: Progress | None,
) -> Written:
    """Writes the copies of the images of all shards.

    Args:
      selection: to write.
      store: of the labels.
      labels: all of it.
      choose: chunk to copies uint32 [n].
      share: of the copies that is kept, drawn at random.
      progress: of an interrupted selection; None: it begins anew.

    Returns:
      What was written.
    """
    ranges = store.manifest("ranges")["ranges"]

    def write(chunk: Chunk) -> tuple[np.ndarray, int, list[tuple[int, bytes]]]:
        copies, chosen = choose(chunk), None
        if share < 1:
            chosen = copies > 0
            copies[chosen] = draw_share(copies[chosen], chunk.random(chosen), share)
        end, digests = 0, []
        for shard, columns in chunk.shards:
            start, end = end, end + len(columns)
            first, stop = ranges[shard]
            written = _write_shard(selection, shard, copies[start:end], columns, stop - first)
            digests.append((shard, written))
        per_class = np.bincount(chunk["label"], copies, labels.num_classes).astype(np.int64)
        return per_class, int(np.count_nonzero(copies)), digests

    before = progress.known("written") if progress else None
    written = Written(**before) if before else _nothing(len(ranges), labels.num_classes)
    saved = time.monotonic()
    for per_class, kept, digests in labels.starting_at(int(written.chunks)).map(write):
        for shard, digest in digests:
            written.sha256[shard] = np.frombuffer(digest, np.uint8)
        written = Written(
            written.sha256,
            written.per_class + per_class,
            np.asarray(written.kept + kept),
            np.asarray(written.copies + per_class.sum()),
            np.asarray(written.chunks + 1),
        )
        if progress and time.monotonic() - saved > KEPT_EVERY:
            sync(selection.folder)
            progress.keep("written", written._asdict())
            saved = time.monotonic()
    sync(selection.folder)
    return written


def _nothing(num_shards: int, num_classes: int) -> Written:
    none = np.array(0)
    return Written(np.zeros((num_shards, 32), np.uint8), np.zeros(num_classes, np.int64), none, none, none)


def _write_shard(selection: Selection, shard: int, copies: np.ndarray, columns: Columns, num_rows: int) -> bytes:
    """Writes the copies of the pseudo-labels of a shard to the rows of their images. Returns the SHA-256."""
    if columns.is_old:
        content = selection.write_records(shard, columns["id"], copies)
    else:
        of_rows = np.zeros(num_rows, np.uint32)
        of_rows[columns.rows] = copies
        content = selection.write_copies(shard, of_rows, is_last=False)
    return hashlib.sha256(content).digest()


def write_samples(selection: Selection, seen: Survey, store: LabelStore, source_ids: Callable | None = None) -> None:
    """Writes samples.npz: of each kind a record array and the ids of its images."""
    arrays: dict[str, Any] = {}
    for kind, records in seen.samples.items():
        arrays[kind], arrays[f"{kind}_ids"] = records, ids_of(store, records["index"], source_ids)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_bytes(selection.folder / SAMPLES, buffer.getvalue())


def read_samples(selection: Selection) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{kind: (records, ids)} of the images in samples.npz.

    Raises:
      UserError: it is damaged.
    """
    path = selection.folder / SAMPLES
    try:
        with np.load(io.BytesIO(path.read_bytes())) as file:
            return {kind: (file[kind], file[f"{kind}_ids"]) for kind in KINDS}
    except Exception as error:  # zip files and NumPy raise many kinds
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is damaged ({reason}): delete {selection.folder} to select again") from None
