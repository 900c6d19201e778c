"""All pseudo-labels of a store, a chunk of images at a time: what rules and reports read, in bounded memory."""

import collections
import concurrent.futures
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from ns_jax.buckets import is_bucket
from ns_jax.cores import usable_cores
from ns_jax.files import file_sha256
from ns_jax.pseudo_labels.check import values_problem
from ns_jax.pseudo_labels.columns import Columns
from ns_jax.pseudo_labels.draws import draw_by_id, draw_by_index
from ns_jax.pseudo_labels.joined import ids_of
from ns_jax.pseudo_labels.progress import Arrays, Progress
from ns_jax.pseudo_labels.store import LabelStore

CHUNK = 1 << 19  # images of a chunk: 40 MB with what rules make of it
MOST_THREADS, THREADS_OF_BUCKETS = 8, 32
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Some consecutive pseudo-labels.

    Attributes:
      start: how many pseudo-labels come before them.
      count: how many they are, n.
      column: name to the column [n], see `ns_jax.pseudo_labels.columns.columns_of`: `chunk["label"]`.
      draw: bool [n] or None for all, to the random numbers of those images, uint64.
      shards: number of the shard, and its columns, of each part of the chunk.
      probabilities: without arguments, begins a pass over the probabilities in parts float32 [.., classes].
    """

    start: int
    count: int
    column: Callable[[str], np.ndarray]
    draw: Callable[[np.ndarray | None], np.ndarray]
    shards: tuple[tuple[int, Columns], ...] = ()
    probabilities: Callable[[], Iterator[np.ndarray]] = lambda: iter(())

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, name: str) -> np.ndarray:
        return self.column(name)

    def random(self, where: np.ndarray | None = None) -> np.ndarray:
        """A random number an image, uint64 [n], or of those where a bool [n] is true. Images that have no use for one
        should not ask: of ids it costs a microsecond each."""
        return self.draw(where)


def _call(function: Callable[[Chunk], T], read: Callable[[], Chunk]) -> T:
    return function(read())


@dataclasses.dataclass(frozen=True)
class Labels:
    """The pseudo-labels of all images.

    Attributes:
      num_classes: labels are below it.
      parts: what reads each chunk, in order.
      read_ids: reads the ids of all images, byte strings [N].
      threads: chunks that are worked on at a time.
      progress: of an interrupted selection.
    """

    num_classes: int
    parts: Sequence[Callable[[], Chunk]]
    read_ids: Callable[[], np.ndarray] = lambda: np.empty(0, "S1")
    threads: int = 1
    progress: Progress | None = None

    def once(self, name: str, compute: Callable[[], Arrays]) -> Arrays:
        """What `compute` finds out in passes over all chunks; after an interruption it is not computed again."""
        return self.progress.once(name, compute) if self.progress else compute()

    def starting_at(self, number: int) -> "Labels":
        """Those of the chunks from a number on."""
        return dataclasses.replace(self, parts=self.parts[number:])

    def map(self, function: Callable[[Chunk], T]) -> Iterator[T]:
        """Yields `function` of every chunk, in order; threads are a few chunks ahead."""
        if self.threads == 1 or len(self.parts) == 1:
            yield from (function(read()) for read in self.parts)
            return
        with concurrent.futures.ThreadPoolExecutor(self.threads) as pool:
            waiting: collections.deque[Any] = collections.deque()
            try:
                for read in self.parts:
                    waiting.append(pool.submit(_call, function, read))
                    if len(waiting) > self.threads:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def read_labels(
    store: LabelStore,
    seed: int,
    source_ids: Callable[[np.ndarray], np.ndarray] | None = None,
    progress: Progress | None = None,
) -> Labels:
    """The pseudo-labels of a complete store, by chunks of whole shards.

    Args:
      store: of the labels.
      seed: of the random numbers, which belong to (seed, id) where ids are kept, else to (seed, index in the source).
      source_ids: int64 indices [N] to ids [N], for rules that ask for ids where none are kept.
      progress: of an interrupted selection.
    """
    manifest = store.manifest("ranges", "class_names")
    ranges = manifest["ranges"]
    counts = manifest.get("counts") or [len(store.read_shard(shard)) for shard in range(len(ranges))]
    starts = np.concatenate([[0], np.cumsum(counts)]).tolist()
    parts, first = [], 0
    for number in range(len(counts)):
        if number + 1 == len(counts) or starts[number + 2] - starts[first] > CHUNK:
            shards = range(first, number + 1)
            parts.append(lambda shards=shards: _read_chunk(store, shards, ranges, counts, starts[shards[0]], seed))
            first = number + 1

    def read_ids() -> np.ndarray:
        rows = [ranges[shard][0] + store.read_shard(shard).rows for shard in range(len(counts))]
        return ids_of(store, np.concatenate(rows), source_ids)

    threads = THREADS_OF_BUCKETS if is_bucket(store.folder) else min(usable_cores(), MOST_THREADS)
    return Labels(len(manifest["class_names"]), parts, read_ids, threads, progress)


def _read_chunk(store: LabelStore, shards: range, ranges: list, counts: list[int], start: int, seed: int) -> Chunk:
    of_shards = [store.read_shard(shard) for shard in shards]
    for shard, columns in zip(shards, of_shards, strict=True):
        if len(columns) != counts[shard]:
            raise store.damaged(shard, f"it has {len(columns)} pseudo-labels, and the manifest says {counts[shard]}")

    def column(name: str) -> np.ndarray:
        if name == "index":
            parts = [ranges[shard][0] + columns.rows for shard, columns in zip(shards, of_shards, strict=True)]
        else:
            parts = [columns[name] for columns in of_shards]
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def draw(where: np.ndarray | None) -> np.ndarray:
        drawn, end = [], 0
        for shard, columns in zip(shards, of_shards, strict=True):
            first, end = end, end + len(columns)
            chosen = slice(None) if where is None else where[first:end]
            if columns.ids is not None:
                drawn.append(draw_by_id(columns.ids[chosen], seed))
            else:
                drawn.append(draw_by_index(ranges[shard][0] + columns.rows[chosen], seed))
        return np.concatenate(drawn)

    def probabilities() -> Iterator[np.ndarray]:
        for shard in shards:
            yield store.read_probabilities(shard)

    return Chunk(
        start,
        sum(counts[shard] for shard in shards),
        column,
        draw,
        tuple(zip(shards, of_shards, strict=True)),
        probabilities,
    )


def check_shard(
    store: LabelStore, shard: int, columns: Columns, num_classes: int, num_rows: int, sha256: str | None
) -> None:
    """Looks through the columns of a shard before they are used.

    Raises:
      UserError: they are damaged, cannot be, or are not those of which the manifest has the SHA-256.
    """
    if problem := values_problem(columns, num_classes, num_rows):
        raise store.damaged(shard, problem)
    if sha256 is not None and file_sha256(store.shard_path(shard)) != sha256:
        raise store.damaged(shard, "its SHA-256 is not the one in the manifest")
