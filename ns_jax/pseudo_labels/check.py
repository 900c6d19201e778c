"""What shards and manifests may hold: a flipped bit must not become a label that is trained on."""

from typing import Any

import numpy as np

from ns_jax.pseudo_labels.columns import Columns

SUM_TOLERANCE = 0.02  # of float16 probabilities: half a unit in the last place, in each of thousands of classes
PART = 4096  # images that are looked at together


def answers_problem(ids: np.ndarray, stored: np.ndarray) -> str:
    """What is wrong with a teacher's answers, with the first id; '' where nothing is.

    Args:
      ids: byte strings [N].
      stored: probabilities, float16 [N, classes].
    """
    for start in range(0, len(ids), PART):
        probs = stored[start : start + PART].astype(np.float32)
        with np.errstate(invalid="ignore"):
            in_range = ((probs >= 0) & (probs <= 1)).all(axis=1)  # NaN is not
            sums_to_1 = np.abs(probs.sum(axis=1) - 1) <= SUM_TOLERANCE
        problem = _first_wrong(
            ids[start : start + PART],
            (in_range, "probabilities that are not in 0 .. 1"),
            (sums_to_1, "probabilities that do not sum to 1"),
        )
        if problem:
            return problem
    return "" if len(np.unique(ids)) == len(ids) else "it names an image twice"


def _first_wrong(ids: np.ndarray, *checks: tuple[Any, str]) -> str:
    for is_right, what in checks:
        if not is_right.all():
            return f"{ids[int(np.argmin(is_right))].decode(errors='replace')!r} has {what}"
    return ""


def _records_problem(columns: Columns, num_classes: int) -> str:
    """As `answers_problem`, of the records of version 0.1."""
    ids, stored, label, confidence = (columns[name] for name in ("id", "probs", "label", "confidence"))
    if stored.shape[1:] != (num_classes,):
        return f"its records have {stored.shape[1:]} probabilities for {num_classes} classes"
    if problem := answers_problem(ids, stored):
        return problem
    for start in range(0, len(ids), PART):
        part = slice(start, start + PART)
        probs, largest = stored[part].astype(np.float32), stored[part].max(axis=1).astype(np.float32)
        classes = np.clip(label[part], 0, num_classes - 1)[:, None]
        with np.errstate(invalid="ignore"):
            # Stored before and after rounding to float16.
            is_largest = np.abs(confidence[part] - largest) <= 1e-3
        problem = _first_wrong(
            ids[part],
            ((label[part] >= 0) & (label[part] < num_classes), f"a label that is not in 0 .. {num_classes - 1}"),
            (is_largest, "a confidence that is not its largest probability"),
            (
                np.take_along_axis(probs, classes, axis=1)[:, 0] >= largest - 1e-3,
                "a label that is not its most probable class",
            ),
        )
        if problem:
            return problem
    return ""


def values_problem(columns: Columns, num_classes: int, num_rows: int) -> str:
    """What is wrong with the columns of a shard that was read; '' where nothing is.

    Args:
      columns: of the shard.
      num_classes: of the teacher.
      num_rows: images of the shard, with and without a pseudo-label.
    """
    if columns.is_old:
        return _records_problem(columns, num_classes)
    rows, label, confidence = columns.rows, columns["label"], columns["confidence"]
    with np.errstate(invalid="ignore"):
        is_score = (confidence >= 0) & (confidence <= 1 + 1e-3)  # a softmax can round to more than 1; NaN is neither
    for is_right, what in (
        ((label >= 0) & (label < num_classes), f"a label that is not in 0 .. {num_classes - 1}"),
        (is_score, "a confidence that is not in 0 .. 1"),
    ):
        if not is_right.all():
            return f"image {rows[int(np.argmin(is_right))]} of it has {what}"
    if len(rows) and (rows[-1] >= num_rows or (np.diff(rows) <= 0).any()):
        return f"its rows are not those of {num_rows} images in order"
    return ""


def manifest_problem(manifest: dict[str, Any]) -> str:
    """What is wrong with those fields of a manifest that say how shards are read, or ''."""
    names, ranges = manifest.get("class_names"), manifest.get("ranges")
    if names is not None and not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        return "class_names is no list of names"
    if ranges is None:
        return ""
    if not isinstance(ranges, list) or not ranges or not all(_is_range(bounds) for bounds in ranges):
        return "ranges is no list of [start, stop)"
    stops = [0] + [stop for _, stop in ranges]
    if [start for start, _ in ranges] != stops[:-1]:
        return "ranges do not follow each other from 0 on"
    for field, kind in (("counts", int), ("sha256", str)):
        values = manifest.get(field)
        is_right = (
            isinstance(values, list) and len(values) == len(ranges) and all(type(item) is kind for item in values)
        )
        if values is not None and not is_right:
            return f"{field} is no list of one for each of {len(ranges)} shards"
    return ""


def _is_range(value: Any) -> bool:
    return (
        isinstance(value, list) and len(value) == 2 and all(type(end) is int for end in value) and value[0] < value[1]
    )
