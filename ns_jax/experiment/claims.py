"""Pieces of work of which each of many processes claims one after the other, by a file for each in a shared folder."""

import contextlib
import re
import threading
import time
from types import TracebackType

from etils import epath

from ns_jax import buckets
from ns_jax.experiment import lease
from ns_jax.files import read_with_version

_NAME = re.compile(r"(\d+)\.json")


class Claims:
    """The claims in a folder, and those among them that this process holds. Two threads may use it.

    A claim keeps others from doing the same work, and does no more: that of a process which stood still passes to
    another, and the first may go on not knowing it. What is done under a claim must bear being done twice.

    A context manager: at its end this process holds none.

    Args:
      folder: of the files; made where it is not there.
    """

    def __init__(self, folder: epath.Path):
        self._folder = folder
        self._held: dict[int, lease.Hold] = {}
        # Of others: version, when this process has first seen it, and whether it is of a process that has ended.
        self._others: dict[int, tuple[int, float, bool]] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> "Claims":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in list(self._held):
            self.release(number)

    @property
    def held(self) -> set[int]:
        """The pieces that this process has claimed and not released."""
        with self._lock:
            return set(self._held)

    def look(self) -> set[int]:
        """The pieces that others have claimed, as far as their processes are not known to have ended."""
        now = self._versions()
        held, moment = self.held, time.monotonic()
        others = {}
        for number, version in now.items():
            if number in held:
                continue
            before = self._others.get(number)
            if before is not None and before[0] == version:
                others[number] = before
            else:  # in buckets a claim is read once; afterwards it shows by its version that it lives
                has_ended = (before is None or not self._is_far) and self._has_ended(number)
                others[number] = version, moment, has_ended
        self._others = others
        return {number for number in others if not self._is_free(number)}

    def try_take(self, number: int) -> bool:
        """Claims a piece that nobody has claimed, or a process that has ended, as `look` has last seen it."""
        version = self._others[number][0] if number in self._others and self._is_free(number) else 0
        hold = lease.Hold(self._folder / f"{number:05d}.json", lambda content: None)
        if not hold.take(version):
            return False
        with self._lock:
            self._held[number] = hold
        return True

    def release(self, number: int) -> None:
        """Gives back a piece, done or not."""
        self._held[number].let_go()
        with self._lock:
            del self._held[number]

    @property
    def _is_far(self) -> bool:
        return buckets.is_bucket(self._folder)

    def _is_free(self, number: int) -> bool:
        _, since, has_ended = self._others[number]
        return has_ended or time.monotonic() - since > lease.LEASE

    def _has_ended(self, number: int) -> bool:
        content, version = read_with_version(self._folder / f"{number:05d}.json")
        return version != 0 and lease.has_ended(content)

    def _versions(self) -> dict[int, int]:
        """{piece: version of its claim}."""
        if self._is_far:
            objects = {known.path.rpartition("/")[2]: known.generation for known in buckets.find(self._folder)}
        elif self._folder.exists():
            objects = {path.name: read_with_version(path)[1] for path in self._folder.iterdir()}
        else:
            objects = {}
        matches = {name: _NAME.fullmatch(name) for name in objects}
        return {int(match[1]): objects[name] for name, match in matches.items() if match and objects[name]}


def remove_claims(folder: epath.Path) -> None:
    """Deletes a folder of claims, when all is done: what processes that were killed have left there."""
    with contextlib.suppress(OSError):  # another process may do the same, or give back its last claim
        folder.rmtree()
