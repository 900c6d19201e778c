"""Pseudo-labels beside the images: a file of columns and one of probabilities a shard, and a manifest.

A shard is a run of consecutive images of the source; row r of it is the r-th of them. Images are never copied. A
pseudo-label belongs to its image by shard and row; the ids of images are kept where a source cannot be known from what
it says of itself, see `ns_jax/pseudo_labels/joined.py`.
"""

import dataclasses
import functools
import hashlib
import io
import os
import tokenize
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from etils import epath

from ns_jax.buckets import is_bucket
from ns_jax.errors import UserError
from ns_jax.files import file_sha256, read_json_object, write_bytes, write_json
from ns_jax.pseudo_labels.check import answers_problem, manifest_problem
from ns_jax.pseudo_labels.columns import Columns, columns_of, columns_problem, pack
from ns_jax.pseudo_labels.mapping import map_npy
from ns_jax.pseudo_labels.probabilities import (
    divergence,
    pack_probabilities,
    probabilities_problem,
    unpack_probabilities,
)

MANIFEST = "manifest.json"
OLD_COPIES = ("id", "copies")  # fields of a selection's records in version 0.1
AGAIN = "delete it and run again, with all stages, and it is made anew"
FEW = 100  # shards that are looked for one by one
MAPPED = 1024  # files of probabilities that stay mapped


def shard_ranges(count: int, shard_size: int) -> list[tuple[int, int]]:
    """[start, stop) of each shard of a source of `count` images."""
    return [(start, min(start + shard_size, count)) for start in range(0, count, shard_size)]


def _dump(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _load(path: epath.Path) -> np.ndarray:
    """The array in a file, memory-mapped and without a file descriptor where the file is local."""
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


@functools.lru_cache(MAPPED)
def _mapped(path: str, _inode: int, _modified: int, _size: int) -> np.ndarray:
    """The array in a local file, as long as that is the same file."""
    return _load(epath.Path(path))


def damaged(path: epath.Path, problem: str) -> UserError:
    """The error that says what is wrong with a file and what helps."""
    return UserError(f"{path} is damaged ({problem}): {AGAIN}")


@dataclasses.dataclass(frozen=True)
class Sidecar:
    """A folder with a `.npy` a shard, and a manifest that says it is complete."""

    folder: epath.Path

    def shard_path(self, shard: int) -> epath.Path:
        return self.folder / f"shard-{shard:05d}.npy"

    def has_shard(self, shard: int) -> bool:
        return self.shard_path(shard).exists()

    def read_shard(self, shard: int) -> Any:
        """Content of a shard. Raises UserError: it is missing, damaged, or holds something else."""
        raise NotImplementedError

    def check_files(self, shard: int) -> None:
        """Raises UserError for a shard whose files do not fit together."""
        self.read_shard(shard)

    def damaged(self, shard: int, problem: str) -> UserError:
        """The error that says what is wrong with a shard and what helps."""
        return damaged(self.shard_path(shard), problem)

    def write_shard(self, shard: int, content: np.ndarray) -> None:
        write_bytes(self.shard_path(shard), _dump(content))

    def is_complete(self) -> bool:
        return (self.folder / MANIFEST).exists()

    def is_whole(self) -> bool:
        """Whether it is complete and no file has been deleted since."""
        if not self.is_complete():
            return False
        num_shards = len(self.manifest().get("ranges", ()))
        return len(self.written(range(num_shards))) == num_shards

    def written(self, shards: Iterable[int]) -> set[int]:
        """Those of some shards that are there; many are looked for in one listing of the folder."""
        asked = list(shards)
        if len(asked) <= FEW:
            return {shard for shard in asked if self.has_shard(shard)}
        names = {path.name for path in self.folder.iterdir()} if self.folder.exists() else set()
        return {shard for shard in asked if self._is_there(shard, names)}

    def _is_there(self, shard: int, names: set[str]) -> bool:
        """As `has_shard`, by the names of the files in the folder."""
        return self.shard_path(shard).name in names

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


@dataclasses.dataclass(frozen=True)
class Writing:
    """What a store has to know before it is written.

    Attributes:
      ranges: [start, stop) of each shard.
      source_ids: int64 indices [N] to the source's ids [N].
      keeps_ids: whether ids are kept: of a source that does not say of itself which images it has.
      top_k: probabilities kept of each image; 0: all, as float16.
    """

    ranges: Sequence[tuple[int, int]]
    source_ids: Callable[[np.ndarray], np.ndarray]
    keeps_ids: bool
    top_k: int = 0


@dataclasses.dataclass(frozen=True)
class LabelStore(Sidecar):
    """The pseudo-labels of one unlabeled source by one teacher.

    Attributes:
      writing: what it takes to write shards of which some images have no pseudo-label.
    """

    writing: Writing | None = None

    def probabilities_path(self, shard: int) -> epath.Path:
        return self.folder / f"shard-{shard:05d}.probs.npy"

    def has_shard(self, shard: int) -> bool:
        """Whether both files of a shard are there; one of version 0.1 has no file of probabilities of its own."""
        if not super().has_shard(shard):
            return False
        return self.probabilities_path(shard).exists() or self.read_shard(shard).is_old

    def _is_there(self, shard: int, names: set[str]) -> bool:
        if not super()._is_there(shard, names):
            return False
        return self.probabilities_path(shard).name in names or self.read_shard(shard).is_old

    def write_labels(self, shard: int, ids: np.ndarray, probs: np.ndarray) -> None:
        """Writes the pseudo-labels of a shard: all of it or nothing, the same bytes whoever writes them.

        Args:
          shard: its number.
          ids: byte strings [N], in the order of the source.
          probs: float32 [N, classes].

        Raises:
          UserError: they are no probabilities; names the first image.
        """
        stored = probs.astype(np.float16)
        if problem := answers_problem(ids, stored):
            raise UserError(f"the teacher's answers for {self.shard_path(shard)} cannot be kept: {problem}")
        columns = columns_of(probs, stored)
        rows = self._rows(shard, ids)
        packed = pack_probabilities(stored, rows, self.writing.top_k if self.writing else 0)
        if packed.dtype.names and "tail" in packed.dtype.names:
            apart = divergence(stored, unpack_probabilities(packed, rows))
            columns["divergence"] = np.array([apart.sum(), apart.max(initial=0)])
        if rows is not None:
            columns["row"] = rows.astype(np.uint32)
        if self.writing is None or self.writing.keeps_ids:
            columns["id"] = ids.astype(f"S{max(1, ids.dtype.itemsize)}")
        content = _dump(packed)
        columns["sha256"] = np.frombuffer(hashlib.sha256(content).digest(), np.uint8)
        write_bytes(self.probabilities_path(shard), content)
        self.write_shard(shard, pack(columns))  # last: where it is, the other one is, too

    def describe_top_k(self, counts: list[int]) -> dict:
        """What a manifest says of probabilities that are not kept of all classes; {} where all are.

        Args:
          counts: pseudo-labels of each shard.
        """
        if self.writing is None or not self.writing.top_k:
            return {}
        columns = [self.read_shard(shard) for shard in range(len(counts))]
        measured = np.array([each["divergence"] for each in columns if each.has("divergence")])
        if not len(measured):  # there are no more classes
            return {}
        mean, most = measured[:, 0].sum() / max(1, sum(counts)), measured[:, 1].max()
        return {"top_k": self.writing.top_k, "top_k_divergence": {"mean_nats": float(mean), "max_nats": float(most)}}

    def _rows(self, shard: int, ids: np.ndarray) -> np.ndarray | None:
        """The row of each id; None where all images of the shard have one."""
        if self.writing is None:
            return None
        start, stop = self.writing.ranges[shard]
        if len(ids) == stop - start:
            return None
        of_shard = self.writing.source_ids(np.arange(start, stop, dtype=np.int64))
        return np.flatnonzero(np.isin(of_shard, ids, assume_unique=True))

    def read_shard(self, shard: int) -> Columns:
        """The columns of a shard.

        Raises:
          UserError: it is missing, damaged, or holds something else.
        """
        stored = _load(self.shard_path(shard))
        if problem := columns_problem(stored):
            raise self.damaged(shard, problem)
        return Columns(stored)

    def check_files(self, shard: int) -> None:
        """Also where the probabilities are not those that were written with the columns; they are read once."""
        columns = self.read_shard(shard)
        if columns.is_old:
            return
        path = self.probabilities_path(shard)
        self._probabilities(shard)  # raises where it is missing
        if file_sha256(path) != columns["sha256"].tobytes().hex():
            raise damaged(path, "its SHA-256 is not the one that was written with it")

    def read_probabilities(self, shard: int, rows: np.ndarray | None = None) -> np.ndarray:
        """Probabilities of rows of a shard, float32 [N, classes].

        Args:
          shard: its number.
          rows: int64 [N], which of them, in any order; None: all that have some.

        Raises:
          UserError: the file is missing, damaged, or holds something else.
        """
        return unpack_probabilities(self._probabilities(shard), rows)

    def _probabilities(self, shard: int) -> np.ndarray:
        path = self.probabilities_path(shard)
        try:
            if is_bucket(path):
                file = _load(path)
            else:
                status = os.stat(path)
                file = _mapped(os.fspath(path), status.st_ino, status.st_mtime_ns, status.st_size)
        except (FileNotFoundError, UserError) as error:
            if isinstance(error, UserError) and path.exists():
                raise
            columns = self.read_shard(shard)
            if columns.is_old:
                return columns["probs"]
            return _load(path)  # raises: it is missing
        if problem := probabilities_problem(file):
            raise damaged(path, problem)
        return file


class Selection(Sidecar):
    """How often a student trains on each image: a file of unsigned integers [rows] a shard, mostly bytes.

    Those of version 0.1 hold records {id, copies} of the images with a pseudo-label.
    """

    def read_shard(self, shard: int) -> np.ndarray:
        """Copies of the images of a shard, unsigned [rows], or the records of version 0.1.

        Raises:
          UserError: it is missing, damaged, or holds something else.
        """
        stored = _load(self.shard_path(shard))
        kinds = [stored.dtype[name].kind for name in stored.dtype.names or ()]
        if stored.ndim != 1 or not (
            stored.dtype.kind == "u" or (stored.dtype.names == OLD_COPIES and kinds == ["S", "u"])
        ):
            raise self.damaged(shard, f"it holds {stored.dtype.names or stored.dtype} instead of copies")
        return stored

    def read_copies(self, shard: int) -> np.ndarray:
        """How often each image of a shard is trained on, uint32 [rows].

        Raises:
          UserError: see `read_shard`.
        """
        stored = self.read_shard(shard)
        return (stored["copies"] if stored.dtype.names else stored).astype(np.uint32)

    def write_records(self, shard: int, ids: np.ndarray, copies: np.ndarray) -> bytes:
        """As `write_copies`, beside labels of version 0.1: of the images that have one."""
        records = np.empty(len(ids), [("id", ids.dtype), ("copies", "<u4")])
        records["id"], records["copies"] = ids, copies
        content = _dump(records)
        write_bytes(self.shard_path(shard), content)
        return content

    def write_copies(self, shard: int, copies: np.ndarray, is_last: bool = True) -> bytes:
        """Writes the copies of all images of a shard, uint32 [rows]: a byte each, or more where one has over 255.

        Args:
          shard: its number.
          copies: of its images.
          is_last: False where many more files follow, after which `ns_jax.files.sync` is called.

        Returns:
          What was written.
        """
        content = _dump(copies.astype(np.min_scalar_type(copies.max(initial=0))))
        write_bytes(self.shard_path(shard), content, synced=is_last)
        return content
