"""Which files a glob names, and what a source string says about them: GLOB or GLOB:KEY=VALUE,KEY=VALUE."""

import concurrent.futures
import glob
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from etils import epath

from ns_jax.errors import UserError

KEYS = ("image", "label", "first_label", "classes", "checked")
STAT_THREADS = 64  # a bucket answers one question after the other otherwise
_NUMBERED = re.compile(r"(.*?)(\d+)-of-(\d+)(.*)")


class Shard(NamedTuple):
    """A file of many images.

    Attributes:
      path: where it is.
      name: its path below the folder that all shards of a source share.
      size: bytes.
      modified: when it was written, in nanoseconds, or as exactly as its storage says.
    """

    path: str
    name: str
    size: int
    modified: int


def is_remote(path: str) -> bool:
    """Whether a path is in a bucket."""
    return "://" in path


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
        stat = epath.Path(path).stat()
        return stat.length, int(stat.mtime)
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
        import tensorflow as tf

        glob_of = tf.io.gfile.glob
    else:
        glob_of = glob.glob
    paths = sorted(path for path in glob_of(pattern) if not os.path.basename(path).startswith("."))
    if len(paths) == 1 and not is_remote(pattern) and os.path.isdir(paths[0]):
        raise UserError(f"{source}: {paths[0]} is a folder: name the files in it, as {paths[0].rstrip('/')}/train-*")
    if not is_remote(pattern):
        paths = [path for path in paths if os.path.isfile(path)]
    if not paths:
        raise UserError(f"{source}: no file is called so")
    check_complete(source, paths)
    with concurrent.futures.ThreadPoolExecutor(STAT_THREADS if is_remote(pattern) else 1) as pool:
        stats = list(pool.map(_stat, paths))
    folder = os.path.commonpath([os.path.dirname(path) for path in paths]) if not is_remote(pattern) else ""
    if is_remote(pattern):  # commonpath would make one slash of two
        folder = os.path.commonprefix([os.path.dirname(path) + "/" for path in paths]).rpartition("/")[0]
    names = [path[len(folder) :].lstrip("/") for path in paths]
    return [Shard(path, name, *stat) for path, name, stat in zip(paths, names, stats, strict=True)]


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
