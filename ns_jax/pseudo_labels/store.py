"""Pseudo-labels beside the images: one file of records a shard, and a manifest.

A shard is a run of consecutive images of the source. Its file holds a NumPy record array, so a
single image's probabilities can be read without the rest. Images are never copied; records and
images are joined by id.
"""

import dataclasses
import io
import os
import tokenize
from collections.abc import Iterable
from typing import ClassVar

import numpy as np
from etils import epath

from ns_jax.buckets import is_bucket
from ns_jax.errors import UserError
from ns_jax.files import read_json_object, write_bytes, write_json
from ns_jax.pseudo_labels.check import COPY_FIELDS, LABEL_FIELDS, fields_problem, manifest_problem
from ns_jax.pseudo_labels.mapping import map_npy

MANIFEST = "manifest.json"
FEW = 100  # shards that are looked for one by one
AGAIN = "delete it and run again, with all stages, and it is made anew"


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
    """Record array of a shard, memory-mapped and without a file descriptor where the file is local."""
    try:
        if not is_bucket(path):
            return map_npy(os.fspath(path))
        return np.load(io.BytesIO(path.read_bytes()))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run again, with all stages, and it is made anew") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder: delete it and run again") from None
    except (ValueError, EOFError, TypeError, OverflowError, SyntaxError, tokenize.TokenError) as error:
        reason = " ".join(str(error).split())[:200]  # NumPy evaluates headers as Python
        raise UserError(f"{path} is damaged ({reason}): {AGAIN}") from None


@dataclasses.dataclass(frozen=True)
class Sidecar:
    """A folder with one `.npy` of records a shard, and a manifest that says it is complete."""

    folder: epath.Path
    fields: ClassVar[tuple[str, ...]] = ()  # of a record

    def shard_path(self, shard: int) -> epath.Path:
        return self.folder / f"shard-{shard:05d}.npy"

    def has_shard(self, shard: int) -> bool:
        return self.shard_path(shard).exists()

    def written(self, shards: Iterable[int]) -> set[int]:
        """Those of some shards that are there; many are looked for in one listing of the folder."""
        asked = list(shards)
        if len(asked) <= FEW:
            return {shard for shard in asked if self.has_shard(shard)}
        names = {path.name for path in self.folder.iterdir()} if self.folder.exists() else set()
        return {shard for shard in asked if self.shard_path(shard).name in names}

    def read_shard(self, shard: int) -> np.ndarray:
        """Record array of the shard, memory-mapped where the file system allows it.

        Raises:
          UserError: it is missing, damaged, or holds other records.
        """
        records = _load(self.shard_path(shard))
        if self.fields and (problem := fields_problem(records, self.fields)):
            raise self.damaged(shard, problem)
        return records

    def damaged(self, shard: int, problem: str) -> UserError:
        """The error that says what is wrong with a shard and what helps."""
        return UserError(f"{self.shard_path(shard)} is damaged ({problem}): {AGAIN}")

    def write_shard(self, shard: int, records: np.ndarray) -> None:
        write_bytes(self.shard_path(shard), _dump(records))

    def is_complete(self) -> bool:
        return (self.folder / MANIFEST).exists()

    def is_whole(self) -> bool:
        """Whether it is complete and no shard has been deleted since."""
        return self.is_complete() and all(map(self.has_shard, range(len(self.manifest().get("ranges", ())))))

    def manifest(self, *required: str) -> dict:
        """What the manifest says. Raises UserError where it is damaged or lacks a field that is `required`."""
        path = self.folder / MANIFEST
        manifest = read_json_object(path)
        missing = [f"{field} is missing" for field in required if field not in manifest]
        if problem := manifest_problem(manifest) or "".join(missing[:1]):
            raise UserError(f"{path} is damaged ({problem}): delete {self.folder} and run again")
        return manifest

    def write_manifest(self, manifest: dict) -> None:
        write_json(self.folder / MANIFEST, manifest)


class LabelStore(Sidecar):
    """The pseudo-labels of one unlabeled source by one teacher; records as in `make_records`."""

    fields = LABEL_FIELDS

    def write_labels(self, shard: int, ids: np.ndarray, probs: np.ndarray) -> None:
        """Writes the pseudo-labels of a shard: all of it or nothing, the same bytes whoever writes them.

        Args:
          shard: its number.
          ids: byte strings [N], in the order of the source.
          probs: float32 [N, classes].
        """
        self.write_shard(shard, make_records(ids, probs))


class Selection(Sidecar):
    """Which pseudo-labeled images a student trains on, and how often: records {id, copies}."""

    fields = COPY_FIELDS


def make_copies(ids: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """Record array [N] {id, copies uint32}."""
    records = np.empty(len(ids), [("id", ids.dtype), ("copies", "<u4")])
    records["id"], records["copies"] = ids, copies
    return records
