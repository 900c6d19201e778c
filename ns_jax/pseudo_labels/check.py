"""What shards and manifests may hold: a flipped bit must not become a label that is trained on."""

from typing import Any

import numpy as np

LABEL_FIELDS = ("id", "probs", "label", "confidence")
COPY_FIELDS = ("id", "copies")
SUM_TOLERANCE = 0.02  # of float16 probabilities: half a unit in the last place, in each of thousands of classes
PART = 4096  # records that are looked at together


def fields_problem(records: np.ndarray, fields: tuple[str, ...]) -> str:
    """What keeps an array from being records with `fields`, or ''."""
    if records.ndim != 1 or records.dtype.names != fields:
        return f"it holds {records.dtype.names or records.dtype} instead of {', '.join(fields)}"
    numbers = {"label": "i", "copies": "u", "confidence": "f", "probs": "f", "id": "S"}
    wrong = [field for field in fields if records.dtype[field].base.kind != numbers[field]]
    return f"{wrong[0]} is {records.dtype[wrong[0]]}" if wrong else ""


def labels_problem(records: np.ndarray, num_classes: int) -> str:
    """What is wrong with the pseudo-labels of a shard, with the first id; '' where nothing is.

    Args:
      records: as `make_records` makes them.
      num_classes: of the teacher.
    """
    if records.dtype["probs"].shape != (num_classes,):
        return f"its records have {records.dtype['probs'].shape} probabilities for {num_classes} classes"
    for start in range(0, len(records), PART):
        part = records[start : start + PART]
        probs, label, confidence = part["probs"].astype(np.float32), part["label"], part["confidence"]
        with np.errstate(invalid="ignore"):
            in_range = ((probs >= 0) & (probs <= 1)).all(axis=1)  # NaN is not
            sums_to_1 = np.abs(probs.sum(axis=1) - 1) <= SUM_TOLERANCE
            is_class = (label >= 0) & (label < num_classes)
            largest = probs.max(axis=1)
            # Stored before and after rounding to float16.
            is_largest = np.abs(confidence - largest) <= 1e-3
            of_label = np.take_along_axis(probs, np.clip(label, 0, num_classes - 1)[:, None], axis=1)[:, 0]
        for is_right, what in (
            (in_range, "probabilities that are not in 0 .. 1"),
            (sums_to_1, "probabilities that do not sum to 1"),
            (is_class, f"a label that is not in 0 .. {num_classes - 1}"),
            (is_largest, "a confidence that is not its largest probability"),
            (of_label >= largest - 1e-3, "a label that is not its most probable class"),
        ):
            if not is_right.all():
                name = part["id"][int(np.argmin(is_right))].decode(errors="replace")
                return f"{name!r} has {what}"
    return "" if len(np.unique(records["id"])) == len(records) else "it names an image twice"


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
