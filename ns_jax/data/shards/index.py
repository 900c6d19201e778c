"""What is known about the shards of a source: learned once, and kept in a file.

The file lies beside the shards where that folder can be written, else in the run's data cache, else in the user's
cache. Of a shard that was replaced, alone, it is learned anew.
"""

import concurrent.futures
import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from ns_jax.data.shards.formats import FORMATS, Format, Scan
from ns_jax.data.shards.layout import Layout, layout_of
from ns_jax.data.shards.listing import Shard, is_remote
from ns_jax.errors import UserError
from ns_jax.files import check_writable, new_file, write_bytes

FORMAT_VERSION = 1
SCAN_THREADS = 32


@dataclasses.dataclass(frozen=True)
class Index:
    """The shards of a source.

    Attributes:
      kind: a key of FORMATS.
      shards: in order.
      counts: int64 [shards], records of each.
      facts: {layout, class_names, has_labels} of the records.
      rows: file with the rows of all shards, see `formats`; None where they are not needed.
    """

    kind: str
    shards: list[Shard]
    counts: np.ndarray
    facts: dict[str, Any]
    rows: epath.Path | None

    @property
    def count(self) -> int:
        """Number of records."""
        return int(self.counts.sum())

    @property
    def starts(self) -> np.ndarray:
        """int64 [shards + 1], index of the first record of each shard, and the number of all."""
        return np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64)

    @property
    def identity(self) -> str:
        """SHA-256 of the shards' names, sizes and counts: of which examples a source is."""
        of_shards = [(shard.name, shard.size) for shard in self.shards]
        return _digest([self.kind, of_shards, self.counts.tolist(), self.facts])


class Rows:
    """The rows of each shard, read when they are asked for."""

    KEPT = 64  # shards of which the rows stay in memory where they cannot be mapped

    def __init__(self, index: Index):
        self._dtype, self._starts = FORMATS[index.kind].row, index.starts
        self._path, self._table, self._read = index.rows, None, {}
        if self._path is not None and not is_remote(str(self._path)) and index.count:
            self._table = np.memmap(self._path, self._dtype, "r", shape=(index.count,))

    def __getitem__(self, number: int) -> np.ndarray | None:
        """Rows of a shard; None where its format needs none."""
        if self._dtype is None:
            return None
        start, stop = self._starts[number : number + 2].tolist()
        if self._table is not None:
            return self._table[start:stop]
        rows = self._read.get(number)
        if rows is None:
            with self._path.open("rb") as file:
                file.seek(start * self._dtype.itemsize)
                content = file.read((stop - start) * self._dtype.itemsize)
            rows = np.frombuffer(content, self._dtype)
            if len(self._read) >= self.KEPT:
                self._read.clear()
            self._read[number] = rows
        return rows


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


class Place(NamedTuple):
    """Where an index may lie: NAME.npz in a folder."""

    folder: epath.Path
    name: str


def _places(kind: str, pattern: str, shards: list[Shard], settings: dict, cache_dir: str) -> list[Place]:
    """Where an index may lie, in order. Beside the shards it does not depend on where they are, and moves with them."""
    user = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    about = [FORMAT_VERSION, kind, settings, os.path.basename(pattern), pattern.count("/")]
    beside = f".ns_jax_index-{_digest(about)[:16]}"
    where = pattern if is_remote(pattern) else os.path.abspath(pattern)
    elsewhere = f".ns_jax_index-{_digest([*about, where])[:16]}"
    folders = [cache_dir, os.path.join(os.path.expanduser(user), "ns_jax", "shards")]
    first = Place(epath.Path(os.path.dirname(shards[0].path) or "."), beside)
    return [first, *(Place(epath.Path(folder), elsewhere) for folder in folders if folder)]


def open_index(source: str, kind: str, pattern: str, shards: list[Shard], settings: dict, cache_dir: str) -> Index:
    """The index of the shards that `pattern` names: as it was kept, or learned now, and kept.

    Raises:
      UserError: a shard is damaged, has no images, or its records have another layout than those of the others.
    """
    places, old = _places(kind, pattern, shards, settings, cache_dir), None
    for place in places:
        kept = _read_kept(*place, kind, shards)
        if kept is not None and kept.shards == shards:
            return kept
        old = old or kept
    return _learn(source, kind, shards, settings, old, *_writable(source, places))


def _writable(source: str, places: list[Place]) -> Place:
    """The first of some places that can be written."""
    for place in places:
        try:
            check_writable(place.folder / place.name)
            return place
        except Exception:  # of a bucket's client, of many kinds
            continue
    raise UserError(
        f"{source}: what is learned about its shards can be kept nowhere: make {places[-1].folder} writable"
    )


def _read_kept(place: epath.Path, name: str, kind: str, shards: list[Shard]) -> Index | None:
    """A kept index; None where there is none, or it is not whole."""
    try:
        content = (place / f"{name}.npz").read_bytes()
    except OSError:
        return None
    folder = shards[0].path[: len(shards[0].path) - len(shards[0].name)]
    try:
        with np.load(io.BytesIO(content)) as kept:
            names = kept["names"].tobytes().decode().split("\0")
            sizes, modified = kept["sizes"].tolist(), kept["modified"].tolist()
            facts, counts = json.loads(kept["facts"].tobytes()), kept["counts"]
            rows = kept["rows"].tobytes().decode()
    except (OSError, ValueError, KeyError):
        return None
    known = [Shard(folder + file, file, *more) for file, *more in zip(names, sizes, modified, strict=True)]
    index = Index(kind, known, counts, facts, place / rows if rows else None)
    if index.rows is not None:
        expected = index.count * FORMATS[kind].row.itemsize
        if not index.rows.exists() or index.rows.stat().length != expected:
            return None
    return index


def _scans(source: str, form: Format, shards: list[Shard], old: Index | None) -> Iterator[tuple[Scan, bool]]:
    """A scan of each shard, in order, and whether it is one that `old` has."""
    known, rows = {}, None
    if old is not None:
        known, rows = {shard: number for number, shard in enumerate(old.shards)}, Rows(old)
    with concurrent.futures.ThreadPoolExecutor(SCAN_THREADS) as pool:
        waiting = {shard: pool.submit(form.scan, source, shard) for shard in shards if shard not in known}
        try:
            for shard in shards:
                if shard in waiting:
                    yield waiting.pop(shard).result(), False
                else:
                    number = known[shard]
                    yield Scan(int(old.counts[number]), rows[number], b""), True
        finally:
            pool.shutdown(cancel_futures=True)


def _learn(source, kind, shards, settings, old: Index | None, place: epath.Path, name: str) -> Index:
    """Looks at the shards that are new, and keeps what was learned at `place`."""
    form, counts = FORMATS[kind], []
    facts, of_shard = (old.facts, old.shards[0].path) if old is not None else (None, "")
    shard_names = [shard.name for shard in shards]
    digest = _digest([shards, settings])[:16]
    rows_path = place / f"{name}-{digest}.rows" if form.row is not None else None
    with new_file(rows_path) if rows_path is not None else io.BytesIO() as file:
        for shard, (scan, is_known) in zip(shards, _scans(source, form, shards, old), strict=True):
            counts.append(scan.count)
            if scan.rows is not None:
                file.write(np.ascontiguousarray(scan.rows).tobytes())
            if is_known or not scan.count:
                continue
            now = _facts(source, form, shard, scan, settings)
            if facts is None:
                facts, of_shard = now, shard.path
            elif facts != now:
                raise UserError(
                    f"{source}: {of_shard} and {shard.path} hold records of different layouts ({_describe(facts)}; "
                    f"{_describe(now)}): name files of one kind"
                )
    if facts is None:
        raise UserError(f"{source}: there are no records in its {len(shards)} files")
    index = Index(kind, shards, np.array(counts, np.int64), facts, rows_path)
    buffer = io.BytesIO()
    as_bytes = lambda text: np.frombuffer(text.encode(), np.uint8)
    np.savez(
        buffer,
        names=as_bytes("\0".join(shard_names)),
        sizes=np.array([shard.size for shard in shards], np.int64),
        modified=np.array([shard.modified for shard in shards], np.int64),
        counts=index.counts,
        facts=as_bytes(json.dumps(facts)),
        rows=as_bytes(rows_path.name if rows_path is not None else ""),
    )
    write_bytes(place / f"{name}.npz", buffer.getvalue())
    if old is not None and old.rows is not None and old.rows.parent == place and old.rows != rows_path:
        old.rows.unlink(missing_ok=True)
    return index


def _facts(source: str, form: Format, shard: Shard, scan: Scan, settings: dict) -> dict[str, Any]:
    """What is to be the same in all shards."""
    if not form.holds_examples:
        return {"layout": None, "class_names": list(scan.class_names), "has_labels": bool(scan.has_labels)}
    layout = layout_of(source, shard.path, scan.first, settings)
    return {"layout": dataclasses.asdict(layout), "class_names": [], "has_labels": bool(layout.label)}


def _describe(facts: dict[str, Any]) -> str:
    layout = facts["layout"]
    if layout is not None:
        known = Layout(**layout)
        return f"image in {known.image!r}, {f'label in {known.label!r}' if known.label else 'no label'}"
    return f"{'with' if facts['has_labels'] else 'without'} labels, {len(facts['class_names'])} class names"
