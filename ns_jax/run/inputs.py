"""The data sets of an iteration: opened, and checked to be those with which it began."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from ns_jax.data import pipeline
from ns_jax.data.duplicates.sidecar import Exclusion, read_exclusion
from ns_jax.data.sources.base import Source, digest_of_ids
from ns_jax.data.sources.registry import OpenSources
from ns_jax.errors import UserError
from ns_jax.files import read_json, write_json
from ns_jax.parallel.hosts import on_process_zero, process_zero_first
from ns_jax.report.progress import say
from ns_jax.run.paths import IterationPaths


class Usable(NamedTuple):
    """Which unlabeled images are used.

    Attributes:
      indices: int64 [N], ascending, in the source.
      num_broken: images that cannot be decoded.
      num_excluded: other images that data.exclude leaves out; None where it is not set.
    """

    indices: np.ndarray
    num_broken: int
    num_excluded: int | None

    def describe_exclusion(self) -> str:
        """What to say of duplicates."""
        if self.num_excluded is None:
            return "duplicates of test images not looked for"
        return f"{self.num_excluded} left out by data.exclude"


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Opens what a config's section `data` names. All hosts call the methods together.

    Attributes:
      paths: of the iteration.
      sources: {field: source string} of labeled, unlabeled and test.
      opened: the run's open sources.
      max_broken_fraction: undecodable images that may be skipped.
      exclude: file of the unlabeled images that are not used; '': all are.
      exif_orientation: whether images are turned as their EXIF data say.
    """

    paths: IterationPaths
    sources: dict[str, str]
    opened: OpenSources
    max_broken_fraction: float = 0.0
    exclude: str = ""
    exif_orientation: bool = False

    def open(self, field: str) -> Source:
        """The source of data.`field`, or of a source string, prepared on process 0 first.

        Raises:
          UserError: it, or the file data.exclude, does not hold what it held when this iteration began.
        """
        name = self.sources.get(field, field)
        wants_labels = field != "unlabeled"
        source = process_zero_first(lambda: self.opened.open(name, wants_labels, self.exif_orientation))
        on_process_zero(lambda: self._say_news(source))
        if field in self.sources:
            on_process_zero(lambda: self._check_unchanged(field, source))
        return source

    def _say_news(self, source: Source) -> None:
        for line in self.opened.news(source):
            say(line)

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

    def usable(self, unlabeled: Source) -> Usable:
        """The unlabeled images that decode and are not excluded.

        Raises:
          UserError: none is left, or see `read_exclusion`.
        """
        indices = self.readable(unlabeled)
        num_broken, num_excluded = unlabeled.count - len(indices), None
        if self.exclude:
            excluded = process_zero_first(lambda: self._read_exclusion(unlabeled)).indices
            left = np.setdiff1d(indices, excluded, assume_unique=True)
            indices, num_excluded = left, len(indices) - len(left)
            if not len(indices):
                raise UserError(
                    f"no image of {unlabeled.name} is left: {num_broken} of {unlabeled.count} cannot be decoded, and "
                    f"the others are in data.exclude={self.exclude}"
                )
        return Usable(indices, num_broken, num_excluded)

    def _read_exclusion(self, unlabeled: Source) -> Exclusion:
        return read_exclusion(epath.Path(os.path.expanduser(self.exclude)), unlabeled)

    def _check_unchanged(self, field: str, source: Source) -> None:
        now: dict[str, Any] = {
            "source": source.name,
            "count": source.count,
            "class_names": list(source.class_names),
            "ids": digest_of_ids(source),
        }
        if field == "unlabeled" and self.exclude:
            exclusion = self._read_exclusion(source)
            now["exclude"] = {
                "file": self.exclude,
                "sha256": exclusion.sha256,
                "count": len(exclusion.indices),
                "against": list(exclusion.against),
                "distance": exclusion.distance,
            }
        path = self.paths.data_record(field)
        if not path.exists():
            write_json(path, now)
            return
        before = read_json(path)
        if before.pop("exclude", None) != now.pop("exclude", None):
            raise UserError(
                f"data.exclude={self.exclude} has changed since this run began: put it back, or choose another "
                "--workdir"
            )
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
