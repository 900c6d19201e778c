"""The probabilities of a shard's images in a file of their own: of all classes, or of the k most probable ones.

Of all classes a `.npy` of float16 [n, classes]. Of k classes, or where some images of the shard have no pseudo-label,
one record with a field a column, see `pack_probabilities`.
"""

import numpy as np

from ns_jax.pseudo_labels.columns import class_dtype, pack


def pack_probabilities(stored: np.ndarray, rows: np.ndarray | None, top_k: int) -> np.ndarray:
    """What is written of n images.

    Args:
      stored: float16 [n, classes].
      rows: int64 [n], ascending, the row of each; None where row r is the r-th image.
      top_k: how many classes are kept of each image; 0, or as many as there are: all.

    Returns:
      float16 [n, classes], or a record {probs, float16 [n, classes or k]; row, uint32 [n], where there are `rows`;
      classes, uint16 or int32 [n, k]; tail, float16 [n], what the other classes have together; num_classes}.
    """
    num_classes, columns = stored.shape[1], {"probs": stored}
    if 0 < top_k < num_classes:
        # A stable order: the same bytes whoever writes them.
        order = np.argsort(-stored, axis=1, kind="stable")
        best, others = order[:, :top_k], order[:, top_k:]
        tail = np.take_along_axis(stored, others, 1).sum(1, dtype=np.float32)
        columns = {
            "probs": np.take_along_axis(stored, best, 1),
            "classes": best.astype(class_dtype(num_classes)),
            "tail": tail.astype(np.float16),
            "num_classes": np.array([num_classes], np.int32),
        }
    if rows is not None:
        columns["row"] = rows.astype(np.uint32)
    return stored if list(columns) == ["probs"] else pack(columns)


def unpack_probabilities(file: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
    """Probabilities of some rows of what `pack_probabilities` has made; the tail is spread evenly over its classes.

    Args:
      file: its content.
      rows: int64 [N], in any order; None: those of all images, in order.

    Returns:
      float32 [N, classes].

    Raises:
      KeyError: a row has no probabilities.
    """
    if file.dtype.names is None:
        return (file if rows is None else file[rows]).astype(np.float32)
    fields = {name: file[name][0] for name in file.dtype.names}
    places = rows if rows is not None or "row" not in fields else np.arange(len(fields["row"]))
    if rows is not None and "row" in fields:
        places = np.minimum(np.searchsorted(fields["row"], rows), len(fields["row"]) - 1)
        if (is_other := fields["row"][places] != rows).any():
            raise KeyError(f"row {rows[is_other][0]} has no probabilities")
    probs = (fields["probs"] if places is None else fields["probs"][places]).astype(np.float32)
    if "classes" not in fields:
        return probs
    classes, tail = (fields[name] if places is None else fields[name][places] for name in ("classes", "tail"))
    num_classes, kept = int(fields["num_classes"][0]), probs.shape[1]
    dense = np.repeat(tail.astype(np.float32)[:, None] / (num_classes - kept), num_classes, axis=1)
    np.put_along_axis(dense, classes.astype(np.int64), probs, axis=1)
    return dense


def divergence(probs: np.ndarray, approximate: np.ndarray) -> np.ndarray:
    """The KL divergence from probabilities to an approximation of them, float64 [N] in nats; both are normalised."""
    true, other = (values / values.sum(1, keepdims=True, dtype=np.float64) for values in (probs, approximate))
    tiny = np.finfo(np.float64).tiny
    return np.where(true > 0, true * np.log(np.maximum(true, tiny) / np.maximum(other, tiny)), 0.0).sum(1)


def probabilities_problem(file: np.ndarray) -> str:
    """What keeps an array from being what `pack_probabilities` makes; '' where nothing does."""
    if file.dtype.names is None:
        return "" if file.ndim == 2 and file.dtype.kind == "f" else f"it holds {file.dtype}{list(file.shape)}"
    names = set(file.dtype.names)
    if (
        file.shape != (1,)
        or "probs" not in names
        or names & {"classes", "tail", "num_classes"} not in (set(), {"classes", "tail", "num_classes"})
    ):
        return f"it holds {', '.join(file.dtype.names)} instead of probabilities"
    count = file.dtype["probs"].shape[:1]
    wrong = [name for name in names - {"num_classes"} if file.dtype[name].shape[:1] != count]
    return f"{wrong[0]} is of another number of images" if wrong else ""
