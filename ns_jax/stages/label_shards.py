"""The shards of an unlabeled source, predicted and written by as many processes as there are."""

import collections
import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from ns_jax.data.examples import AllBut
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


class ByShard(Sequence):
    """The readable indices of each shard's range, int64, ascending; made when they are asked for.

    Args:
      readable: indices, ascending.
      ranges: [start, stop) of each shard.

    Attributes:
      sizes: int64 [shards], how many each has.
    """

    def __init__(self, readable: AllBut | np.ndarray, ranges: list[tuple[int, int]]):
        self._readable, self._bounds = readable, np.searchsorted(readable, np.array(ranges, np.int64).reshape(-1, 2))
        self.sizes = np.diff(self._bounds, axis=1)[:, 0]

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, shard):
        return self._readable[slice(*self._bounds[shard].tolist())]


def label_shards(
    store: LabelStore,
    source: Images,
    readable: AllBut | np.ndarray,
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
      readable: indices, ascending, of those that decode.
      ranges: [start, stop) of each shard.
      make_predictor: makes the teacher, on the devices of this process, once it is known that something is missing.
      title: for the progress bar.
      temperature: by which the teacher's logits are divided.

    Returns:
      How many shards this process has written.

    Raises:
      Stopped: a host of the run had a SIGTERM.
    """
    in_shard, stopped, own = ByShard(readable, ranges), False, 0
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
    work: ShardWork, source: Images, in_shard: ByShard, predictor: Teacher, title: str, temperature: float
) -> int:
    """Predicts and writes one claimed shard after the other. While one is written, the next ones are predicted."""
    shards: collections.deque[int] = collections.deque()  # that are being predicted, in order
    own, total, writing = 0, int(in_shard.sizes.sum()), None

    def claimed() -> Iterator[np.ndarray]:
        for shard in work:
            shards.append(shard)
            yield in_shard[shard]

    def write(shard: int, probs: np.ndarray) -> None:
        if temperature != 1:
            probs = apply_temperature(probs, temperature)
        work.write(shard, source.ids(in_shard[shard]), probs)

    def labeled() -> int:
        return total - int(in_shard.sizes[list(work.missing())].sum())

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
            progress.update(labeled() + int(in_shard.sizes[shard]), "labeling")
        if writing is not None:
            writing.result()
        if progress.done < labeled():
            progress.update(labeled(), "labeling")
    if work.missing():
        raise Stopped(title)
    return own
