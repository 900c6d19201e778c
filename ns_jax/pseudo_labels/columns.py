"""What is kept of every pseudo-label apart from its probabilities: columns, one after the other in a file a shard.

The file is a `.npy` with one record whose fields are whole columns, so that a reader touches those it asks for. Shards
of version 0.1 hold a record an image instead, with id and probabilities in it; they are read as they are.
"""

from collections.abc import Callable

import numpy as np

from ns_jax.pseudo_labels.scores import entropy, margin, runner_up

OLD_FIELDS = ("id", "probs", "label", "confidence")  # of version 0.1
KINDS = {"label": "iu", "confidence": "f", "entropy": "f", "margin": "f", "runner_up": "iu", "row": "u", "id": "S"}
REQUIRED = ("label", "confidence")


def class_dtype(num_classes: int) -> np.dtype:
    """The type of a class's number: uint16, or int32 where there are more classes."""
    return np.dtype("<u2" if num_classes <= 2**16 else "<i4")


def pack(columns: dict[str, np.ndarray]) -> np.ndarray:
    """One record [1] with a field a column, the widest types first so that all are aligned."""
    order = sorted(columns, key=lambda name: (columns[name].dtype.kind == "S", -columns[name].dtype.itemsize))
    dtype = np.dtype([(name, columns[name].dtype, columns[name].shape) for name in order])
    record = np.empty(1, dtype)
    for name in order:
        record[name][0] = columns[name]
    return record


def columns_of(probs: np.ndarray, stored: np.ndarray) -> dict[str, np.ndarray]:
    """The columns of N images by their probabilities.

    Args:
      probs: float32 [N, classes], as the teacher gives them.
      stored: the same as float16, of which entropy, margin and sums are taken: rules have always read those. The
        entropy is float64, as that of a sure image is far below the precision of a score near 1.

    Returns:
      label and runner_up uint16 or int32, confidence and margin float32, entropy in nats float64, [N] each;
      sum_of_probs float64 [classes].
    """
    read, number = stored.astype(np.float32), class_dtype(probs.shape[1])
    label = probs.argmax(1) if len(probs) else np.empty(0, np.int64)
    return {
        "label": label.astype(number),
        "confidence": probs.max(1, initial=0).astype(np.float32),
        "entropy": entropy(read),
        "margin": margin(read),
        "runner_up": runner_up(read, label).astype(number),
        "sum_of_probs": read.sum(0, dtype=np.float64),
    }


class Columns:
    """The n pseudo-labels of a shard, by column: `columns["label"]`, see `columns_of`.

    Args:
      stored: content of the file.
    """

    def __init__(self, stored: np.ndarray):
        self._stored, self.is_old = stored, stored.dtype.names == OLD_FIELDS
        self._computed: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self["label"])

    def __getitem__(self, name: str) -> np.ndarray:
        if not self.is_old:
            return self._stored[name][0]
        if name in OLD_FIELDS:
            return self._stored[name]
        if name not in self._computed:
            self._computed[name] = _OF_OLD[name](self._stored["probs"].astype(np.float32), self._stored["label"])
        return self._computed[name]

    def has(self, name: str) -> bool:
        """Whether there is a column of that name."""
        return name in (self._stored.dtype.names or ()) or (self.is_old and name in _OF_OLD)

    @property
    def ids(self) -> np.ndarray | None:
        """The id of each image, byte strings [n]; None where the source gives them by index."""
        return self["id"] if self.has("id") else None

    @property
    def rows(self) -> np.ndarray:
        """The row of each, int64 [n], ascending: its place among the images of the shard when they were labeled.

        In a shard of version 0.1 rows are those that have a pseudo-label.
        """
        return self["row"].astype(np.int64) if self.has("row") else np.arange(len(self))


_OF_OLD: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "entropy": lambda probs, label: entropy(probs),
    "margin": lambda probs, label: margin(probs),
    "runner_up": runner_up,
    "sum_of_probs": lambda probs, label: probs.sum(0, dtype=np.float64),
}


def columns_problem(stored: np.ndarray) -> str:
    """What keeps an array from being the columns of a shard, of this or of version 0.1; '' where nothing does."""
    names = stored.dtype.names or ()
    if names == OLD_FIELDS and stored.ndim == 1:
        kinds = {"id": "S", "probs": "f", "label": "i", "confidence": "f"}
        wrong = [name for name in names if stored.dtype[name].base.kind != kinds[name]]
        return f"{wrong[0]} is {stored.dtype[wrong[0]]}" if wrong else ""
    missing = [name for name in REQUIRED if name not in names]
    if stored.shape != (1,) or missing:
        return f"it holds {names or stored.dtype} instead of columns"
    length = stored.dtype["label"].shape
    for name in (name for name in names if name in KINDS):
        dtype = stored.dtype[name]
        if dtype.shape != length or len(length) != 1 or dtype.base.kind not in KINDS[name]:
            return f"{name} is {dtype.base}{list(dtype.shape)}"
    return ""
