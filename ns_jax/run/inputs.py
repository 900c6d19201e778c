"""The data sets of an iteration: opened, and checked to be those with which it began."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from ns_jax.data import pipeline
from ns_jax.data.duplicates.sidecar import Exclusion, read_exclusion
from ns_jax.data.examples import AllBut
from ns_jax.data.holdout import part_of_each
from ns_jax.data.sampling import labels_of
from ns_jax.data.sources.base import Source, identity_of
from ns_jax.data.sources.registry import OpenSources
from ns_jax.errors import UserError
from ns_jax.files import read_json_object, write_json
from ns_jax.parallel.hosts import on_process_zero, process_zero_first
from ns_jax.report.progress import say
from ns_jax.run.paths import IterationPaths


class Usable(NamedTuple):
    """Which unlabeled images are used.

    Attributes:
      indices: in the source.
      num_broken: images that cannot be decoded.
      num_excluded: other images that data.exclude leaves out; None where it is not set.
      num_corrected: other images that have a label in data.corrections, or are of no use.
    """

    indices: AllBut
    num_broken: int
    num_excluded: int | None
    num_corrected: int = 0

    def describe_exclusion(self) -> str:
        """What to say of duplicates."""
        corrections = f", {self.num_corrected} left out by data.corrections" if self.num_corrected else ""
        if self.num_excluded is None:
            return f"duplicates of test images not looked for{corrections}"
        return f"{self.num_excluded} left out by data.exclude{corrections}"


@dataclasses.dataclass(frozen=True)
class Holdout:
    """Labeled images that are validated on, and not trained on.

    Attributes:
      parts: into how many the labeled images are divided.
      part: the one that is held out.
      seed: of the division.
    """

    parts: int
    part: int
    seed: int


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Opens what a config's section `data` names. All hosts call the methods together.

    Attributes:
      paths: of the iteration.
      sources: {field: source string} of labeled, unlabeled and test, and validation where it is no part of labeled.
      opened: the run's open sources.
      max_broken_fraction: undecodable images that may be skipped.
      exclude: file of the unlabeled images that are not used; '': all are.
      holdout: the labeled images to validate on; None: there are none, or data.validation names others.
      exif_orientation: whether images are turned as their EXIF data say.
      corrections: file of labels that a person has corrected; '': none.
      may_join: source string of the run's unlabeled images, which join the labeled ones when they are corrected.
    """

    paths: IterationPaths
    sources: dict[str, str]
    opened: OpenSources
    max_broken_fraction: float = 0.0
    exclude: str = ""
    holdout: Holdout | None = None
    exif_orientation: bool = False
    corrections: str = ""
    may_join: str = ""

    def open(self, field: str) -> Source:
        """The source of data.`field`, or of a source string, prepared on process 0 first.

        Raises:
          UserError: it, or the file data.exclude, does not hold what it held when this iteration began.
        """
        if field == "validation" and field not in self.sources:
            field = "labeled"  # a part of them, see `evaluated`
        name = self.sources.get(field, field)
        wants_labels = field != "unlabeled"
        if field == "labeled" and self.corrections:
            more = (self.may_join, self.corrections, self.exif_orientation)
            source = process_zero_first(lambda: self.opened.open_corrected(name, *more))
        else:
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
            in_shards = bool(getattr(source, "identity", ""))
            hint = "; ".join(source.notes) if in_shards else "put the images into one sub-folder per class"
            raise UserError(
                f"data.{field}={source.name} has no classes, and labels are needed here: "
                f"{hint or 'its records have none'}"
            )
        return source

    def check_training(self) -> None:
        """Checks the images to train on.

        Raises:
          UserError: labeled images have a single class, or none of a class, or they are the unlabeled images, too.
        """
        check_all_classes(self.open_labeled("labeled"))
        if self.sources.get("unlabeled"):
            labeled = self.opened.open(self.sources["labeled"], True, self.exif_orientation)
            check_apart(labeled, self.open("unlabeled"))

    def readable(self, source: Source) -> AllBut:
        """Indices of the examples that decode."""
        tell = self.opened.is_first_time(f"readable {source.name}")
        return process_zero_first(
            lambda: pipeline.readable_examples(source, self.max_broken_fraction, self.paths.data_cache, tell)
        )

    def trained_on(self, labeled: Source) -> np.ndarray:
        """int64 indices of the labeled examples to train on: those that decode and are not held out."""
        indices = np.asarray(self.readable(labeled))
        return indices if self.holdout is None else indices[~self._is_held_out(labeled, indices, self.holdout)]

    def evaluated(self, field: str, source: Source) -> np.ndarray:
        """int64 indices of the examples of data.`field`, or of a source string, on which a model is evaluated."""
        indices = np.asarray(self.readable(source))
        if field == "validation" and self.holdout is not None:
            return indices[self._is_held_out(source, indices, self.holdout)]
        return indices

    def _is_held_out(self, labeled: Source, indices: np.ndarray, holdout: Holdout) -> np.ndarray:
        """bool [N], whether each of `indices` is held out."""
        names = getattr(labeled, "groups", None)
        groups = None if names is None else [names[index] for index in indices]
        parts = part_of_each(labels_of(labeled, indices), groups, holdout.parts, holdout.seed)
        return np.equal(parts, holdout.part)

    def usable(self, unlabeled: Source) -> Usable:
        """The unlabeled images that decode, are not excluded and have no label in data.corrections.

        Raises:
          UserError: none is left, or see `read_exclusion`.
        """
        readable = self.readable(unlabeled)
        num_broken, num_excluded, num_corrected = unlabeled.count - len(readable), None, 0
        indices = readable
        if self.exclude:
            excluded = process_zero_first(lambda: self._read_exclusion(unlabeled)).indices
            indices = readable.without(excluded)
            num_excluded = len(readable) - len(indices)
        if self.corrections:
            is_named = self.opened.corrections(self.corrections).is_named(unlabeled)
            others = indices.without(np.flatnonzero(is_named))
            num_corrected, indices = len(indices) - len(others), others
        if not len(indices) and len(readable):
            files = [name for name in (self.exclude, self.corrections) if name]
            raise UserError(
                f"no image of {unlabeled.name} is left: {num_broken} of {unlabeled.count} cannot be decoded, and the "
                f"others are in {' or '.join(files)}"
            )
        return Usable(indices, num_broken, num_excluded, num_corrected)

    def _read_exclusion(self, unlabeled: Source) -> Exclusion:
        return read_exclusion(epath.Path(os.path.expanduser(self.exclude)), unlabeled)

    def _check_unchanged(self, field: str, source: Source) -> None:
        now: dict[str, Any] = {
            "source": source.name,
            "count": source.count,
            "class_names": list(source.class_names),
            "ids": identity_of(source),
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
        if field == "labeled" and self.corrections:
            now["corrections"] = {"file": self.corrections, "sha256": self.opened.corrections(self.corrections).sha256}
        path = self.paths.data_record(field)
        if not path.exists():
            write_json(path, now)
            return
        before = read_json_object(path)
        if missing := [key for key in now if key not in before and key not in ("exclude", "corrections")]:
            raise UserError(f"{path} is damaged ({missing[0]} is missing); delete it and run again")
        if before.pop("exclude", None) != now.pop("exclude", None):
            raise UserError(
                f"data.exclude={self.exclude} has changed since this run began: put it back, or choose another "
                "--workdir"
            )
        if before.pop("corrections", None) != now.pop("corrections", None):
            raise UserError(
                f"data.corrections={self.corrections} has changed since this run began: put it back, or choose another "
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
        raise UserError(
            f"{who} has {len(have)} classes, {whom} has {len(want)}: they must be the same"
            f"{_describe_surplus(whom, set(want) - set(have))}{_describe_surplus(who, set(have) - set(want))}"
        )
    wrong = next(i for i in range(len(want)) if have[i] != want[i])
    raise UserError(
        f"{who} and {whom} differ in their classes, first at {wrong}: {have[wrong]!r} there, {want[wrong]!r} here"
    )


def _describe_surplus(who: str, names: set[str]) -> str:
    """'; WHO alone has ...' with the first names, or ''."""
    first = sorted(names)[:3]
    return f"; {who} alone has {', '.join(map(repr, first))}{', ...' if len(names) > 3 else ''}" if names else ""


def check_all_classes(labeled: Source) -> None:
    """Raises UserError where labeled images have a single class, or none of a class."""
    names, numbers = labeled.class_names, getattr(labeled, "labels", None)
    # Counted where that takes no reading of images.
    counts = [1] * len(names) if numbers is None else np.bincount(numbers, minlength=len(names)).tolist()
    there = [name for name, count in zip(names, counts, strict=True) if count]
    if len(there) < 2:
        raise UserError(
            f"data.labeled={labeled.name} has images of one class only, {there[0]!r}: at least two are needed"
        )
    if len(there) < len(names):
        missing = next(name for name in names if name not in there)
        raise UserError(
            f"data.labeled={labeled.name} has no image of class {missing!r}: label some, or take the class out"
        )


def check_apart(labeled: Source, unlabeled: Source) -> None:
    """Raises UserError where labeled and unlabeled images are the same files. The paper does so with built sets."""
    if not labeled.may_be_broken or not unlabeled.may_be_broken:
        return
    is_same = labeled.name == unlabeled.name or (
        labeled.stamp == unlabeled.stamp != "" and identity_of(labeled) == identity_of(unlabeled)
    )
    if is_same:
        raise UserError(
            f"data.unlabeled={unlabeled.name} are the labeled images: name other images, or data.unlabeled='' for "
            "supervised training"
        )
