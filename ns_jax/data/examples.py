"""All examples of a source but a few, without a list of them."""

import numpy as np


class AllBut:
    """The int64 indices below `count`, ascending, without some; NumPy's functions take it as an array of them.

    Args:
      count: number of examples of the source.
      missing: int64 [K], those that are left out, in any order.
    """

    def __init__(self, count: int, missing: np.ndarray | None = None):
        self.count = count
        self.missing = np.unique(np.empty(0, np.int64) if missing is None else np.asarray(missing, np.int64))
        # How many examples come before each missing one: ascending, so that the missing ones before a place are found.
        self._before = self.missing - np.arange(len(self.missing))

    def __len__(self) -> int:
        return self.count - len(self.missing)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        if copy is False:
            raise ValueError("the indices are not in memory: they must be made")
        return self[:].astype(np.int64 if dtype is None else dtype, copy=False)

    def __getitem__(self, places) -> np.ndarray:
        """The examples at some places, as of an array: a slice, bool [len(self)], or int [N] places."""
        if isinstance(places, slice):
            places = np.arange(*places.indices(len(self)), dtype=np.int64)
        places = np.asarray(places)
        if places.dtype == bool:
            places = np.flatnonzero(places)
        places = np.where(places < 0, places + len(self), places).astype(np.int64)
        if places.size and (places.min() < 0 or places.max() >= len(self)):
            raise IndexError(f"there are {len(self)} examples")
        return places + np.searchsorted(self._before, places, "right")

    def searchsorted(self, examples, side: str = "left", sorter=None) -> np.ndarray:
        """How many come before some examples, with side 'right' themselves included; what `np.searchsorted` calls."""
        if sorter is not None:
            raise ValueError("the examples are in order")
        examples = np.asarray(examples, np.int64)
        before = np.clip(examples + (side == "right"), 0, self.count)
        return before - np.searchsorted(self.missing, before)

    def without(self, examples: np.ndarray) -> "AllBut":
        """The same without some examples more, int64 [K]."""
        return AllBut(self.count, np.union1d(self.missing, np.asarray(examples, np.int64)))

    def tolist(self) -> list[int]:
        """All of them."""
        return self[:].tolist()
