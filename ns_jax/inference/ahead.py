"""An iterator that is run in a thread of its own, some items ahead."""

import queue
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any

WAIT_SECONDS = 0.1


class InThread(Iterator[Any]):
    """Gives the items of an iterable, and raises what it raises. A context manager, which ends the thread.

    Args:
      items: iterated in the thread.
      count: at most so many of them wait to be taken.
    """

    def __init__(self, items: Iterable, count: int):
        self._items, self._queue = items, queue.Queue(count)  # type: ignore[var-annotated]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True, name="read ahead")

    def __enter__(self) -> "InThread":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def __next__(self) -> Any:
        item, is_last, error = self._queue.get()
        if is_last:
            self._queue.put((None, True, error))  # for whoever asks again
            raise error or StopIteration
        return item

    def is_ready(self) -> bool:
        """Whether the next item, or the end, is there."""
        return not self._queue.empty()

    def _read(self) -> None:
        error = None
        try:
            for item in self._items:
                if not self._put((item, False, None)):
                    return
        except BaseException as raised:
            error = raised
        self._put((None, True, error))

    def _put(self, entry: tuple) -> bool:
        """Puts an entry into the queue; False where nobody wants it any more."""
        while not self._stop.is_set():
            try:
                self._queue.put(entry, timeout=WAIT_SECONDS)
                return True
            except queue.Full:
                continue
        return False
