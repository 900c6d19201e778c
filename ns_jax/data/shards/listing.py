"""Which files a glob names, and what a source string says about them: GLOB or GLOB:KEY=VALUE,KEY=VALUE."""

import glob
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from ns_jax import buckets
from ns_jax.errors import UserError

KEYS = ("image", "label", "first_label", "classes", "checked")
_NUMBERED = re.compile(r"(.*?)(\d+)-of-(\d+)(.*)")


class Shard(NamedTuple):
    """A file of many images.

    Attributes:
      path: where it is.
      name: its path below the folder that all shards of a source share.
      size: bytes.
      modified: when it was written, in nanoseconds; in a bucket its generation.
    """

    path: str
    name: str
    size: int
    modified: int


def is_remote(path: str) -> bool:
    """Whether a path is in a bucket."""
    return buckets.is_bucket(path)


def split_rest(kind: str, rest: str) -> tuple[str, dict[str, str]]:
    """Splits 'GLOB:KEY=VALUE,...' into the glob and what is said about the records.

    Raises:
      UserError: an unknown key, or no glob.
    """
    pattern, colon, last = rest.rpartition(":")
    if not colon or "=" not in last or last.startswith("//"):
        pattern, last = rest, ""
    options = {}
    for item in last.split(",") if last else ():
        key, equals, value = item.partition("=")
        if not equals or key not in KEYS:
            raise UserError(f"{kind}:{rest}: {key!r} is none of the settings {', '.join(KEYS)}: write GLOB:KEY=VALUE")
        options[key] = value
    if not pattern:
        raise UserError(f"{kind}:{rest}: name files, as {kind}:/data/train-*")
    return os.path.expanduser(pattern), options


def _stat(path: str) -> tuple[int, int]:
    """Size and time of modification of a file."""
    if is_remote(path):
        known = buckets.describe(path)
        return known.size, known.generation
    result = os.stat(path)
    return result.st_size, result.st_mtime_ns


def shard_of(path: str) -> Shard:
    """A shard that is alone, by its path."""
    return Shard(path, os.path.basename(path), *_stat(path))


def list_shards(source: str, pattern: str) -> list[Shard]:
    """The files that a glob names, ordered by path.

    Args:
      source: the source string, for errors.
      pattern: a glob; a folder stands for all visible files in it.

    Raises:
      UserError: there are none, or of files that are numbered N-of-M some are missing.
    """
    if is_remote(pattern):
        files = _list_objects(source, pattern)
    else:
        paths = sorted(path for path in glob.glob(pattern) if not os.path.basename(path).startswith("."))
        if len(paths) == 1 and os.path.isdir(paths[0]):
            raise UserError(
                f"{source}: {paths[0]} is a folder: name the files in it, as {paths[0].rstrip('/')}/train-*"
            )
        files = [(path, *_stat(path)) for path in paths if os.path.isfile(path)]
    if not files:
        raise UserError(f"{source}: no file is called so")
    paths = [path for path, _, _ in files]
    check_complete(source, paths)
    if is_remote(pattern):  # commonpath would make one slash of two
        folder = os.path.commonprefix([os.path.dirname(path) + "/" for path in paths]).rpartition("/")[0]
    else:
        folder = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [Shard(path, path[len(folder) :].lstrip("/"), *stat) for path, *stat in files]


def _list_objects(source: str, pattern: str) -> list[buckets.Object]:
    """The objects that a glob names, without hidden ones. Raises UserError where the bucket cannot be listed."""
    buckets.check_address(pattern)
    with buckets.explained(pattern, source):
        files = buckets.match(pattern)
    files = [file for file in files if not os.path.basename(file.path).startswith(".")]
    if not files:
        buckets.require_bucket(pattern)
    return files


def check_complete(source: str, paths: Sequence[str]) -> None:
    """Raises UserError, with the first that is missing, where files are numbered N-of-M and not all are there."""
    series: dict[tuple[str, str, str], set[int]] = {}
    for path in paths:
        match = _NUMBERED.fullmatch(os.path.basename(path))
        if match:
            key = (os.path.join(os.path.dirname(path), match[1]), match[3], match[4])
            series.setdefault(key, set()).add(int(match[2]))
    for (start, total, end), numbers in series.items():
        missing = sorted(set(range(int(total))) - numbers) if len(numbers) < int(total) else []
        if missing:
            name = f"{start}{missing[0]:0{len(total)}d}-of-{total}{end}"
            raise UserError(
                f"{source}: {len(missing)} of {int(total)} shards are missing, first {name}: put them there, or "
                "rename the others"
            )
