"""Which shards of pseudo-labels this process writes: as many processes as there are share them, coming and going."""

import secrets
import threading
from collections.abc import Iterable, Iterator

import jax
import numpy as np

from ns_jax.buckets import is_bucket
from ns_jax.experiment.claims import Claims
from ns_jax.parallel.preemption import must_stop
from ns_jax.pseudo_labels.store import LabelStore

CLAIMS = "claims"  # folder beside the shards, while they are being written
POLL, POLL_OF_BUCKET = 0.25, 5.0  # seconds between two looks at what others have done
MISSES = 8  # shards in a row that others had: then it is looked anew what there is


class ShardWork:
    """The shards that are not written yet, as this process claims them.

    Iterating it claims one shard after the other, also those of processes that have ended. It ends when all others are
    written or held by this process, or when a host had a SIGTERM. One thread iterates, others call `write`.

    Args:
      store: of the shards.
      shards: those that somebody has to write.
      claims: in the store's folder.
    """

    def __init__(self, store: LabelStore, shards: Iterable[int], claims: Claims):
        self._store, self._claims = store, claims
        self._written: set[int] = set()  # as far as this process knows
        self._shards = list(shards)
        self._misses = 0
        self._closed = threading.Event()
        self._pause = POLL_OF_BUCKET if is_bucket(store.folder) else POLL
        self._of_others: set[int] = set()
        self._look()

    def __iter__(self) -> Iterator[int]:
        while not self._has_to_end():
            claimed = False
            for shard in self._in_order():
                if self._has_to_end() or self._misses > MISSES:
                    break
                if self._claim(shard):
                    claimed = True
                    yield shard
            if not self._left():
                return
            if not claimed:
                self._closed.wait(self._pause)
            self._look()

    def write(self, shard: int, ids: np.ndarray, probs: np.ndarray) -> None:
        """Writes a shard that this process has claimed, and gives back the claim; see `LabelStore.write_labels`."""
        try:
            self._store.write_labels(shard, ids, probs)
        except FileNotFoundError:
            if not self._store.has_shard(shard):
                raise
            # Another process took the claim over and wrote it, and the run was completed and tidied up meanwhile.
        self._done(shard)

    def missing(self) -> set[int]:
        """The shards that are not written, as far as this process knows."""
        return set(self._shards) - self._written

    def _done(self, shard: int) -> None:
        self._written.add(shard)
        self._claims.release(shard)

    def close(self) -> None:
        """Ends the iteration, wherever it waits."""
        self._closed.set()

    def _has_to_end(self) -> bool:
        return self._closed.is_set() or must_stop(together=False)

    def _left(self) -> list[int]:
        """Shards that are neither written, as far as is known, nor held by this process."""
        known = self._written | self._claims.held
        return [shard for shard in self._shards if shard not in known]

    def _in_order(self) -> list[int]:
        """What can be claimed. Processes begin at places apart, and then go on in the order of the shards."""
        free = [shard for shard in self._left() if shard not in self._of_others]
        begin = len(free) * jax.process_index() // jax.process_count()
        if self._of_others and free:
            begin = secrets.randbelow(len(free))
        return free[begin:] + free[:begin]

    def _claim(self, shard: int) -> bool:
        """Claims a shard that nobody has, and that is not written."""
        if not self._claims.try_take(shard):
            self._misses += 1
            return False
        if self._store.has_shard(shard):  # since the last look
            self._misses += 1
            self._done(shard)
            return False
        self._misses = 0
        return True

    def _look(self) -> None:
        """Finds out what others have claimed and written."""
        self._misses = 0
        # In this order: who has written a shard then gives back its claim.
        self._of_others = self._claims.look()
        self._written |= self._store.written(shard for shard in self._left() if shard not in self._of_others)
