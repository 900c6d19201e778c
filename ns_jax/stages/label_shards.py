"""The shards of an unlabeled source, predicted and written by as many processes as there are."""

import collections
import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from ns_jax.errors import Stopped
from ns_jax.evaluators.metrics import apply_temperature
from ns_jax.experiment.claims import Claims
from ns_jax.parallel.hosts import is_process_zero, sum_over_hosts
from ns_jax.parallel.preemption import sigterm_held_back
from ns_jax.pseudo_labels.ids import Images
from ns_jax.pseudo_labels.store import LabelStore
from ns_jax.report.progress import StageProgress
from ns_jax.run.shard_work import CLAIMS, ShardWork


class Teacher(Protocol):
    """What is asked of a teacher, see `ns_jax.inference.predictor.Predictor.lists`."""

    def lists(self, source: Any, lists: Iterable[np.ndarray]) -> Generator[np.ndarray, None, None]: ...


def split_by_shard(readable: np.ndarray, ranges: list[tuple[int, int]]) -> list[np.ndarray]:
    """The readable indices, ascending, of each shard's range."""
    return [readable[slice(*np.searchsorted(readable, bounds))] for bounds in ranges]


def label_shards(
    store: LabelStore,
    source: Images,
    readable: np.ndarray,
    ranges: list[tuple[int, int]],
    make_predictor: Callable[[], Teacher],
    title: str,
    temperature: float = 1.0,
) -> int:
    """Writes the shards that `store` does not hold yet, with as many other processes as work on it.

    All hosts of a run call it, and it returns when all shards are written.

    Args:
      store: of the labels.
      source: the unlabeled images.
      readable: int64, ascending, indices of those that decode.
      ranges: [start, stop) of each shard.
      make_predictor: makes the teacher, on the devices of this process, once it is known that something is missing.
      title: for the progress bar.
      temperature: by which the teacher's logits are divided.

    Returns:
      How many shards this process has written.

    Raises:
      Stopped: a host of the run had a SIGTERM.
    """
    in_shard, stopped, own = split_by_shard(readable, ranges), False, 0
    missing = set(range(len(ranges))) - store.written(range(len(ranges)))
    if missing:
        with sigterm_held_back(), Claims(store.folder / CLAIMS) as claims:
            work = ShardWork(store, sorted(missing), claims)
            try:
                own = _label_claimed(work, source, in_shard, make_predictor(), title, temperature)
            except Stopped:
                stopped = True
    # All come here, also those that have nothing left to do or have stopped.
    if sum_over_hosts(np.array([stopped]).astype(np.int64))[0]:
        raise Stopped(f"{title}: stopped by SIGTERM; start again to continue")
    return own


def _label_claimed(
    work: ShardWork, source: Images, in_shard: list[np.ndarray], predictor: Teacher, title: str, temperature: float
) -> int:
    """Predicts and writes one claimed shard after the other. While one is written, the next ones are predicted."""
    shards: collections.deque[int] = collections.deque()  # that are being predicted, in order
    own, total, writing = 0, sum(map(len, in_shard)), None

    def claimed() -> Iterator[np.ndarray]:
        for shard in work:
            shards.append(shard)
            yield in_shard[shard]

    def write(shard: int, probs: np.ndarray) -> None:
        if temperature != 1:
            probs = apply_temperature(probs, temperature)
        work.write(shard, source.ids(in_shard[shard]), probs)

    def labeled() -> int:
        return total - sum(len(in_shard[shard]) for shard in work.missing())

    with (
        StageProgress(title, total, labeled(), is_process_zero(), "images") as progress,
        ThreadPoolExecutor(1, "write labels") as writer,
        contextlib.closing(predictor.lists(source, claimed())) as predicted,
        contextlib.closing(work),  # before what waits for it
    ):
        for probs in predicted:
            if writing is not None:
                writing.result()
            shard = shards.popleft()
            writing = writer.submit(write, shard, probs)
            own += 1
            progress.update(labeled() + len(in_shard[shard]), "labeling")
        if writing is not None:
            writing.result()
        if progress.done < labeled():
            progress.update(labeled(), "labeling")
    if work.missing():
        raise Stopped(title)
    return own
