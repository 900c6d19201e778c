"""The data sets of an iteration: opened, and checked to be those with which it began."""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ns_jax.data import pipeline
from ns_jax.data.sources.base import Source
from ns_jax.data.sources.registry import OpenSources
from ns_jax.errors import UserError
from ns_jax.files import read_json, write_json
from ns_jax.parallel.hosts import on_process_zero, process_zero_first
from ns_jax.run.paths import IterationPaths


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Opens what a config's section `data` names. All hosts call the methods together.

    Attributes:
      paths: of the iteration.
      sources: {field: source string} of labeled, unlabeled and test.
      opened: the run's open sources.
      max_broken_fraction: undecodable images that may be skipped.
    """

    paths: IterationPaths
    sources: dict[str, str]
    opened: OpenSources
    max_broken_fraction: float = 0.0

    def open(self, field: str) -> Source:
        """The source of data.`field`, or of a source string, prepared on process 0 first.

        Raises:
          UserError: it does not hold what it held when this iteration began.
        """
        name = self.sources.get(field, field)
        source = process_zero_first(lambda: self.opened.open(name))
        if field in self.sources:
            on_process_zero(lambda: self._check_unchanged(field, source))
        return source

    def open_labeled(self, field: str) -> Source:
        """As `open`. Raises UserError for a source without classes."""
        source = self.open(field)
        if not source.num_classes:
            raise UserError(
                f"data.{field}={source.name} has no classes, and labels are needed here: put the images into one "
                "sub-folder per class"
            )
        return source

    def readable(self, source: Source) -> np.ndarray:
        """int64 indices of the examples that decode."""
        return process_zero_first(
            lambda: pipeline.readable_examples(source, self.max_broken_fraction, self.paths.data_cache)
        )

    def _check_unchanged(self, field: str, source: Source) -> None:
        ids = hashlib.sha256(b"\0".join(source.ids(np.arange(source.count)).tolist())).hexdigest()
        now: dict[str, Any] = {
            "source": source.name,
            "count": source.count,
            "class_names": list(source.class_names),
            "ids": ids,
        }
        path = self.paths.data_record(field)
        if not path.exists():
            write_json(path, now)
            return
        before = read_json(path)
        if before != now:
            raise UserError(
                f"{source.name} has changed since this run began ({before['count']} images in "
                f"{len(before['class_names'])} classes then, {now['count']} in {len(now['class_names'])} now, or other "
                "names): put it back, or choose another --workdir"
            )


def check_classes(who: str, have: Sequence[str], source: Source) -> None:
    """Raises UserError unless a model's classes are those of the source, in the same order."""
    check_same_classes(who, have, source.name, source.class_names)


def check_same_classes(who: str, have: Sequence[str], whom: str, want: Sequence[str]) -> None:
    """Raises UserError unless two lists of class names are equal; names the first difference."""
    have, want = list(have), list(want)
    if have == want:
        return
    if len(have) != len(want):
        raise UserError(f"{who} has {len(have)} classes, {whom} has {len(want)}: they must be the same")
    wrong = next(i for i in range(len(want)) if have[i] != want[i])
    raise UserError(
        f"{who} and {whom} differ in their classes, first at {wrong}: {have[wrong]!r} there, {want[wrong]!r} here"
    )
