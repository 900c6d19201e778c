"""Pseudo-labels beside the images: one file of records a shard, and a manifest.

A shard is a run of consecutive images of the source. Its file holds a NumPy record array, so a
single image's probabilities can be read without the rest. Images are never copied; records and
images are joined by id.
"""

import dataclasses
import io

import numpy as np
from etils import epath

from ns_jax.errors import UserError
from ns_jax.files import read_json, write_bytes, write_json

MANIFEST = "manifest.json"


def record_dtype(id_bytes: int, num_classes: int) -> np.dtype:
    """{id, probs float16 [classes], label int32, confidence float32}."""
    return np.dtype([("id", f"S{id_bytes}"), ("probs", "<f2", (num_classes,)), ("label", "<i4"), ("confidence", "<f4")])


def make_records(ids: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """Record array [N] from byte-string ids [N] and float32 probabilities [N, classes]."""
    records = np.empty(len(ids), record_dtype(max(1, ids.dtype.itemsize), probs.shape[1]))
    records["id"] = ids
    records["probs"] = probs.astype(np.float16)
    records["label"] = probs.argmax(1)
    records["confidence"] = probs.max(1)
    return records


def shard_ranges(count: int, shard_size: int) -> list[tuple[int, int]]:
    """[start, stop) of each shard of a source of `count` images."""
    return [(start, min(start + shard_size, count)) for start in range(0, count, shard_size)]


def _dump(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _load(path: epath.Path) -> np.ndarray:
    try:
        if "://" not in str(path):
            return np.load(path, mmap_mode="r")
        return np.load(io.BytesIO(path.read_bytes()))
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it and run the stage again") from None


@dataclasses.dataclass(frozen=True)
class Sidecar:
    """A folder with one `.npy` of records a shard, and a manifest that says it is complete."""

    folder: epath.Path

    def shard_path(self, shard: int) -> epath.Path:
        return self.folder / f"shard-{shard:05d}.npy"

    def has_shard(self, shard: int) -> bool:
        return self.shard_path(shard).exists()

    def read_shard(self, shard: int) -> np.ndarray:
        """Record array of the shard, memory-mapped where the file system allows it."""
        return _load(self.shard_path(shard))

    def write_shard(self, shard: int, records: np.ndarray) -> None:
        write_bytes(self.shard_path(shard), _dump(records))

    def is_complete(self) -> bool:
        return (self.folder / MANIFEST).exists()

    def manifest(self) -> dict:
        return read_json(self.folder / MANIFEST)

    def write_manifest(self, manifest: dict) -> None:
        write_json(self.folder / MANIFEST, manifest)


class LabelStore(Sidecar):
    """The pseudo-labels of one unlabeled source by one teacher; records as in `make_records`."""


class Selection(Sidecar):
    """Which pseudo-labeled images a student trains on, and how often: records {id, copies}."""


def make_copies(ids: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """Record array [N] {id, copies uint32}."""
    records = np.empty(len(ids), [("id", ids.dtype), ("copies", "<u4")])
    records["id"], records["copies"] = ids, copies
    return records


@dataclasses.dataclass(frozen=True)
class TrainingTable:
    """The selected pseudo-labels, joined to the source.

    Attributes:
      source_index: int64 [M], index into the source; an image with k copies occurs k times.
      shard, row: int64 [M], where its record is.
      shards: the record arrays.
    """

    source_index: np.ndarray
    shard: np.ndarray
    row: np.ndarray
    shards: list[np.ndarray]

    def probs(self, examples: np.ndarray) -> np.ndarray:
        """float32 [N, classes] of the entries `examples`, int64 [N]."""
        found = np.empty((len(examples), self.shards[0]["probs"].shape[1]), np.float32)
        shard, row = self.shard[examples], self.row[examples]
        for number in np.unique(shard):
            at = shard == number
            found[at] = self.shards[number]["probs"][row[at]]
        return found


def _require_same_ids(what: str, shard: int, found: np.ndarray, known: np.ndarray) -> None:
    strangers = ~np.isin(found, known)
    if strangers.any():
        first = found[strangers.argmax()].decode(errors="replace")
        raise UserError(f"shard {shard}: {what}, first {first!r}")


def join(store: LabelStore, selection: Selection, source_ids) -> TrainingTable:
    """Joins labels, selection and images by id.

    Args:
      store: a complete label store.
      selection: a complete selection of it.
      source_ids: int64 indices [N] to the source's ids [N].

    Raises:
      UserError: an id that one of the three has and another lacks; names the shard and the id.
    """
    index, shard_of, row_of, shards = [], [], [], []
    for shard, (start, stop) in enumerate(store.manifest()["ranges"]):
        records, copies = store.read_shard(shard), selection.read_shard(shard)
        ids = source_ids(np.arange(start, stop, dtype=np.int64))
        _require_same_ids("pseudo-labels of images that the source does not hold", shard, records["id"], ids)
        _require_same_ids("selected images without a pseudo-label", shard, copies["id"], records["id"])
        _require_same_ids("pseudo-labels that selection never saw", shard, records["id"], copies["id"])
        order = np.argsort(ids)
        position = start + order[np.searchsorted(ids, records["id"], sorter=order)]
        by_id = np.argsort(copies["id"])
        times = copies["copies"][by_id[np.searchsorted(copies["id"], records["id"], sorter=by_id)]]
        index.append(np.repeat(position, times))
        row_of.append(np.repeat(np.arange(len(records)), times))
        shard_of.append(np.full(len(row_of[-1]), shard))
        shards.append(records)
    return TrainingTable(*(np.concatenate(part).astype(np.int64) for part in (index, shard_of, row_of)), shards)
