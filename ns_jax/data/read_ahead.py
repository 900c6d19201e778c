"""Examples that are going to be asked for, read beforehand in the order in which they lie in their files.

A bucket gives one example at a time slowly, and many that lie beside each other fast.
"""

import collections
import concurrent.futures
import threading
from collections.abc import Callable, Iterable, Iterator

import numpy as np

TOGETHER = 256  # examples that are read with one call
CALLS = 8  # at the same time


class ReadAhead:
    """A function from int64 indices [N] to columns [N, ...], that reads in a thread of its own what comes next.

    Args:
      read: NumPy function, int64 indices [N], ascending, to a tuple of arrays [N, ...]; called by several threads.
      groups: of indices, int64 [n] each, one after the other as they are going to be asked for; within a group in any
        order. An index is asked for as often as it occurs.
      most: indices of the groups that are held in memory, about; more only where somebody waits for them.
    """

    def __init__(self, read: Callable[[np.ndarray], tuple], groups: Iterable[np.ndarray], most: int):
        self._read, self._groups, self._most = read, groups, most
        self._rows: dict[int, tuple] = {}  # index to its values in each column
        self._left: collections.Counter[int] = collections.Counter()  # how often a held index is still asked for
        self._num_held, self._num_waiting, self._num_reading = 0, 0, 0
        self._has_all, self._is_closed = False, False
        self._error: Exception | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="read ahead", daemon=True)
        self._thread.start()

    def _parts(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields runs of ascending indices, and how often each occurs in its group."""
        for group in self._groups:
            indices, counts = np.unique(group, return_counts=True)
            for start in range(0, len(indices), TOGETHER):
                yield indices[start : start + TOGETHER], counts[start : start + TOGETHER]

    def _run(self) -> None:
        """Hands runs of indices to the threads that read, whenever there is room for more."""
        with concurrent.futures.ThreadPoolExecutor(CALLS) as pool:
            try:
                for indices, counts in self._parts():
                    with self._changed:
                        self._changed.wait_for(self._may_read)
                        if self._is_closed:
                            break
                        self._num_held += int(counts.sum())
                        self._num_reading += 1
                    pool.submit(self._read_part, indices, counts)
            except Exception as error:
                self._fail(error)
        with self._changed:
            self._has_all = True
            self._changed.notify_all()

    def _may_read(self) -> bool:
        has_room = self._num_held < self._most or self._num_waiting > 0
        return self._is_closed or (has_room and self._num_reading < 2 * CALLS)

    def _read_part(self, indices: np.ndarray, counts: np.ndarray) -> None:
        try:
            rows = list(zip(*self._read(indices), strict=True))
        except Exception as error:
            self._fail(error)
            return
        with self._changed:
            for index, row, count in zip(indices.tolist(), rows, counts.tolist(), strict=True):
                self._rows[index] = row
                self._left[index] += count
            self._num_reading -= 1
            self._changed.notify_all()

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._error, self._is_closed = error, True
            self._changed.notify_all()

    def __call__(self, indices: np.ndarray) -> tuple:
        """The columns of some indices, waited for where they are not there yet.

        Raises:
          Exception: what `read` raised.
        """
        wanted = collections.Counter(indices.tolist())
        is_there = lambda: self._is_closed or self._has_all or all(self._left[i] >= n for i, n in wanted.items())
        with self._changed:
            self._num_waiting += 1
            self._changed.notify_all()
            self._changed.wait_for(is_there)
            self._num_waiting -= 1
            if self._error is not None:
                raise self._error
            rows = [self._take(index) for index in indices.tolist()]
            self._changed.notify_all()
        if any(row is None for row in rows):  # nobody foretold it
            return self._read(indices)
        return tuple(stack(column) for column in zip(*rows, strict=True))

    def _take(self, index: int) -> tuple | None:
        """Values of a held index; it is forgotten when it has been asked for as often as was foretold."""
        row = self._rows.get(index)
        if row is not None:
            self._left[index] -= 1
            self._num_held -= 1
            if self._left[index] <= 0:
                del self._left[index], self._rows[index]
        return row

    def close(self) -> None:
        """Reads nothing more."""
        with self._changed:
            self._is_closed = True
            self._rows.clear()
            self._left.clear()
            self._changed.notify_all()


def stack(values: tuple) -> np.ndarray:
    """Array [N, ...] of N values; bytes stay objects."""
    if isinstance(values[0], bytes):
        result = np.empty(len(values), object)
        result[:] = values
        return result
    return np.stack(values)
