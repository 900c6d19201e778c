"""Labels that a person has corrected: a table of images and their right labels, laid over the images of a run."""

import dataclasses
import difflib
import hashlib
import os
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ns_jax.data.sampling import labels_of
from ns_jax.data.sources.base import Source
from ns_jax.data.sources.files import printable
from ns_jax.data.tables import read_table
from ns_jax.errors import UserError

NO_USE = ("", "?")  # labels of images that are to be left out


@dataclasses.dataclass(frozen=True)
class Corrections:
    """A table of corrections.

    Attributes:
      file: that it was read from.
      label_of: {id of an image: name of its class, or one of NO_USE}.
      sha256: of the file.
    """

    file: str
    label_of: dict[bytes, str]
    sha256: str

    def is_named(self, source: Source) -> np.ndarray:
        """Whether each image of a source is in the table, bool [count]."""
        return np.isin(source.ids(np.arange(source.count)), list(self.label_of))


def read_corrections(file: str) -> Corrections:
    """Reads a table with the columns path, the id of an image, and label: its right class, '' or '?' for no use.

    Raises:
      UserError: see `read_table`; or two labels for one image.
    """
    path = os.path.expanduser(file)
    table = read_table(path, ("path", "label"))
    label_of: dict[bytes, str] = {}
    for name, label in zip(table.columns["path"], table.columns["label"], strict=True):
        label = label.strip()
        if label_of.setdefault(os.fsencode(name), label) != label:
            before = label_of[os.fsencode(name)]
            raise UserError(
                f"{file}: {printable(name)!r} has two labels, {before!r} and {label!r}: keep one of the rows"
            )
    with open(path, "rb") as stream:
        return Corrections(file, label_of, hashlib.sha256(stream.read()).hexdigest())


class _Part(NamedTuple):
    """Images of one source that are trained on: int64 [N] indices into it, and their labels int32 [N]."""

    source: Source
    indices: np.ndarray
    labels: np.ndarray


def corrected(labeled: Source, unlabeled: Source | None, corrections: Corrections) -> Source:
    """The labeled images with corrections: other labels, more images, fewer images; and a note that says how many.

    Args:
      labeled: the labeled images.
      unlabeled: those that join the labeled ones when they are corrected; None: there are none.
      corrections: of images of both.

    Raises:
      UserError: an image is in neither of them or in both, or there is no such class.
    """
    sources = [labeled] if unlabeled is None else [labeled, unlabeled]
    _check_names(sources, corrections)
    numbers = _class_numbers(labeled, corrections)
    old = labels_of(labeled, np.arange(labeled.count))
    kept, changed, removed = _correct(labeled, old, numbers, keep_others=True)
    parts = [kept]
    joined = 0
    if unlabeled is not None:
        part, joined, others_removed = _correct(unlabeled, np.full(unlabeled.count, -1), numbers, keep_others=False)
        removed += others_removed
        parts += [part] if joined else []
    same = len(corrections.label_of) - changed - joined - removed
    as_before = f", {same} as before" if same else ""
    note = (
        f"{len(corrections.label_of)} corrections: {changed} labels changed, {joined} images joined, {removed} removed"
        f"{as_before}"
    )
    return _joint(labeled, parts, note, corrections)


def _check_names(sources: list[Source], corrections: Corrections) -> None:
    """Raises UserError unless each image that is named is in exactly one of the sources."""
    times = dict.fromkeys(corrections.label_of, 0)
    for source in sources:
        ids = source.ids(np.arange(source.count))
        for name in ids[corrections.is_named(source)].tolist():
            times[name] += 1
    unknown = [name for name, count in times.items() if not count]
    names = " or ".join(source.name for source in sources)
    if unknown:
        raise UserError(
            f"{corrections.file}: {len(unknown)} of {len(times)} images are not in {names}, first "
            f"{printable(os.fsdecode(unknown[0]))!r}: a path is written as in labels.csv"
        )
    both = [name for name, count in times.items() if count > 1]
    if both:
        raise UserError(
            f"{corrections.file}: {printable(os.fsdecode(both[0]))!r} may be an image of both {names}: give the files "
            "different names"
        )


def _class_numbers(labeled: Source, corrections: Corrections) -> dict[bytes, int]:
    """{id: position of its class, or -1 for no use}."""
    number_of = {name: number for number, name in enumerate(labeled.class_names)} | dict.fromkeys(NO_USE, -1)
    for label in corrections.label_of.values():
        if label not in number_of:
            near = difflib.get_close_matches(label, labeled.class_names, n=1, cutoff=0.0)
            raise UserError(
                f"{corrections.file}: there is no class {label!r}, did you mean {near[0]!r}? '?' leaves an image out"
            )
    return {name: number_of[label] for name, label in corrections.label_of.items()}


def _correct(source: Source, old: np.ndarray, numbers: dict[bytes, int], keep_others: bool) -> tuple[_Part, int, int]:
    """The images of a source that are trained on; and how many have another label now, and how many are left out.

    Args:
      source: some images.
      old: int [count], labels of all of them.
      numbers: {id: position of the right class, or -1 for no use}.
      keep_others: whether images that are not corrected are trained on, too.
    """
    ids = source.ids(np.arange(source.count)).tolist()
    new = np.array([numbers.get(name, label) for name, label in zip(ids, old.tolist(), strict=True)], np.int32)
    is_named = np.array([name in numbers for name in ids], bool)
    is_removed = is_named & (new < 0)
    chosen = np.flatnonzero(~is_removed if keep_others else is_named & ~is_removed)
    changed = int((is_named & ~is_removed & (new != old)).sum())
    return _Part(source, chosen, new[chosen]), changed, int(is_removed.sum())


def _joint(labeled: Source, parts: list[_Part], note: str, corrections: Corrections) -> Source:
    """One source of the images of one or two parts; each keeps its id."""
    indices = tf.constant(np.concatenate([part.indices for part in parts]), tf.int64)
    labels = np.concatenate([part.labels for part in parts])
    label_table, num_first = tf.constant(labels), len(parts[0].indices)

    def load(index, window=None):
        # An array source is never given a window.
        window_argument = () if window is None else (window,)
        images = [lambda part=part: part.source.load(indices[index], *window_argument)[0] for part in parts]
        image = images[0]() if len(parts) == 1 else tf.cond(index < num_first, *images)
        return image, label_table[index]

    ids = np.concatenate([part.source.ids(part.indices) for part in parts])
    stamps = [part.source.stamp for part in parts]
    return Source(
        name=labeled.name,
        count=len(labels),
        class_names=labeled.class_names,
        load=load,
        ids=lambda chosen: ids[chosen],
        stamp=hashlib.sha256(repr([*stamps, corrections.sha256]).encode()).hexdigest(),
        may_be_broken=any(part.source.may_be_broken for part in parts),
        labels=labels,
        groups=_groups(parts),
        weights=_weights(parts),
        notes=(*getattr(labeled, "notes", ()), note),
    )


def _groups(parts: list[_Part]) -> tuple[str, ...] | None:
    """Groups of all images; an image of a source without groups is a group of its own."""
    of_parts = [getattr(part.source, "groups", None) for part in parts]
    if all(groups is None for groups in of_parts):
        return None
    result: list[str] = []
    for part, groups in zip(parts, of_parts, strict=True):
        names = [os.fsdecode(name) for name in part.source.ids(part.indices).tolist()]
        result += names if groups is None else [groups[index] for index in part.indices]
    return tuple(result)


def _weights(parts: list[_Part]) -> np.ndarray | None:
    """Weights of all images; 1 for those of a source without weights."""
    of_parts = [getattr(part.source, "weights", None) for part in parts]
    if all(weights is None for weights in of_parts):
        return None
    result = [
        np.ones(len(part.indices)) if weights is None else weights[part.indices]
        for part, weights in zip(parts, of_parts, strict=True)
    ]
    return np.concatenate(result).astype(np.float32)
