"""Bytes at a place in a file, of many files, of which few are open at a time."""

import collections
import os
import resource
import threading
import weakref
from collections.abc import Callable
from typing import Any

from ns_jax import buckets
from ns_jax.data.shards.listing import Shard, is_remote
from ns_jax.errors import UserError


def max_open_files() -> int:
    """Files that a source keeps open: a small part of what this process may."""
    return max(8, min(256, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8))


class Opened:
    """Opened shards: the ones used last stay open, and each is checked to be what the index says when it is opened.

    Args:
      source: the source string, for errors.
      shards: all of them.
      open_shard: opens one.
      keep: how many stay open.
    """

    def __init__(self, source: str, shards: list[Shard], open_shard: Callable[[Shard], Any], keep: int | None = None):
        self._source, self._shards, self._open = source, shards, open_shard
        self._keep = keep or max_open_files()
        self._opened: collections.OrderedDict[int, Any] = collections.OrderedDict()
        self._lock = threading.Lock()

    def __getitem__(self, number: int) -> Any:
        """The opened shard with a number. Raises UserError where the file is no longer what it was."""
        with self._lock:
            if number in self._opened:
                self._opened.move_to_end(number)
                return self._opened[number]
        check_same(self._source, self._shards[number])
        opened = self._open(self._shards[number])
        with self._lock:
            self._opened[number] = opened
            # What another thread still reads from is closed when it lets go of it.
            while len(self._opened) > self._keep:
                self._opened.popitem(last=False)
        return opened


def check_same(source: str, shard: Shard) -> None:
    """Raises UserError where a local file is gone, or has another size or time than when the source was opened."""
    if is_remote(shard.path):
        return
    try:
        now = os.stat(shard.path)
    except OSError as error:
        raise UserError(f"{source}: cannot read {shard.path} ({error.strerror}): put it back") from None
    if (now.st_size, now.st_mtime_ns) != (shard.size, shard.modified):
        raise UserError(
            f"{source}: {shard.path} was replaced since it was opened ({shard.size} bytes then, {now.st_size} now): "
            "start again"
        )


class RangeFile:
    """A file of which bytes are read by several threads at once. Closed when nobody has it any more."""

    def __init__(self, shard: Shard):
        self._shard, self._descriptor, self.is_remote = shard, -1, is_remote(shard.path)
        if not self.is_remote:
            self._descriptor = os.open(shard.path, os.O_RDONLY)
            weakref.finalize(self, os.close, self._descriptor).atexit = False  # the system does it then

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset` on; fewer where the file ends."""
        if self._descriptor >= 0:
            return os.pread(self._descriptor, size, offset)
        stop = min(offset + size, self._shard.size)
        return buckets.read(self._shard.path, offset, stop, self._shard.modified)
