"""The file of `python -m ns_jax.deduplicate`: which unlabeled images are the same as images of other sources.

One JSON object a line. The first is about the whole:

  format_version  1
  unlabeled       {source, count, ids (SHA-256, see `identity_of`), broken}
  against         [the same of each other source]
  distance        most bits in which perceptual hashes of near-duplicates differ; -1: no near-duplicates
  method          name and version of the perceptual hash
  counts          {bytes, pixels, near}: duplicates of each kind

Then a line for each duplicate, {id, kind, distance, source, equals}, where `equals` is the id in `source`; and one
for each image that could not be decoded, and so was not compared: {kind: broken, source, id}. Bytes of an id that are
not UTF-8 are written as Python's surrogateescape does.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from ns_jax.data.duplicates.matching import KINDS
from ns_jax.data.sources.base import Source, identity_of
from ns_jax.errors import UserError
from ns_jax.files import is_file, write_bytes

FORMAT_VERSION = 1
BROKEN = "broken"
COMMAND = "python -m ns_jax.deduplicate"


@dataclasses.dataclass(frozen=True)
class Exclusion:
    """The duplicates that a sidecar names.

    Attributes:
      indices: int64 [K], ascending, in the unlabeled source.
      against: names of the sources that hold them too.
      distance: see the top of this module.
      sha256: of the file.
    """

    indices: np.ndarray
    against: tuple[str, ...]
    distance: int
    sha256: str


def to_text(name: bytes) -> str:
    """Returns an id as text; `to_bytes` gives it back."""
    return name.decode("utf-8", "surrogateescape")


def to_bytes(text: str) -> bytes:
    """Returns the id that `to_text` has written."""
    return text.encode("utf-8", "surrogateescape")


def write_sidecar(
    path: epath.Path,
    unlabeled: Source,
    against: Sequence[Source],
    duplicates: np.ndarray,
    broken: Sequence[np.ndarray],
    distance: int,
    method: str,
) -> None:
    """Writes a sidecar.

    Args:
      path: of the file.
      unlabeled: the source.
      against: the others.
      duplicates: DUPLICATE [K], see `find_duplicates`.
      broken: int64 indices of the images that could not be decoded, of `unlabeled` and then of each of `against`.
      distance: see the top of this module.
      method: as above.
    """
    about = [
        {"source": source.name, "count": source.count, "ids": identity_of(source), "broken": len(indices)}
        for source, indices in zip((unlabeled, *against), broken, strict=True)
    ]
    header = {
        "format_version": FORMAT_VERSION,
        "unlabeled": about[0],
        "against": about[1:],
        "distance": distance,
        "method": method,
        "counts": count_kinds(duplicates),
    }
    lines = [json.dumps(header)]
    for duplicate in describe_duplicates(unlabeled, against, duplicates):
        lines.append(json.dumps(duplicate))
    for source, indices in zip((unlabeled, *against), broken, strict=True):
        for name in source.ids(indices).tolist():
            lines.append(json.dumps({"kind": BROKEN, "source": source.name, "id": to_text(name)}))
    write_bytes(path, ("\n".join(lines) + "\n").encode())


def describe_duplicates(unlabeled: Source, against: Sequence[Source], duplicates: np.ndarray) -> list[dict[str, Any]]:
    """The line of each duplicate, see the top of this module."""
    equals: list[bytes] = [b""] * len(duplicates)
    for number, source in enumerate(against):
        places = np.flatnonzero(duplicates["source"] == number)
        for place, name in zip(places, source.ids(duplicates["equals"][places]).tolist(), strict=True):
            equals[place] = name
    ids = unlabeled.ids(duplicates["index"]).tolist()
    return [
        {
            "id": to_text(name),
            "kind": KINDS[duplicate["kind"]],
            "distance": int(duplicate["distance"]),
            "source": against[duplicate["source"]].name,
            "equals": to_text(other),
        }
        for name, other, duplicate in zip(ids, equals, duplicates, strict=True)
    ]


def count_kinds(duplicates: np.ndarray) -> dict[str, int]:
    """{kind: number of duplicates} of all kinds."""
    counts = np.bincount(duplicates["kind"], minlength=len(KINDS))
    return dict(zip(KINDS, counts.tolist(), strict=True))


def read_header(path: epath.Path) -> tuple[dict[str, Any], list[bytes], str]:
    """Reads a sidecar: its first line, its other lines, and the SHA-256 of the file.

    Raises:
      UserError: it is missing, is none, is damaged, or of another version.
    """
    if not is_file(path):
        raise UserError(f"{path} is not a file: write it with {COMMAND}")
    content = path.read_bytes()
    first, *lines = content.splitlines() or [b""]
    header = _parse(first)
    if header is None or "format_version" not in header or "unlabeled" not in header:
        raise UserError(f"{path} is no file of {COMMAND}, or its first line is damaged: write it again")
    if header["format_version"] != FORMAT_VERSION:
        raise UserError(
            f"{path} has format_version {header['format_version']!r}, and this version of ns_jax reads "
            f"{FORMAT_VERSION}: write it again with {COMMAND}"
        )
    return header, lines, hashlib.sha256(content).hexdigest()


def read_exclusion(path: epath.Path, source: Source) -> Exclusion:
    """Reads which images of `source`, the unlabeled one, are duplicates.

    Raises:
      UserError: as `read_header`; or it is of another source, or of other images than the source holds now.
    """
    header, lines, sha256 = read_header(path)
    try:
        against, distance = tuple(other["source"] for other in header["against"]), int(header["distance"])
        _check_source(path, header["unlabeled"], source)
        ids = _read_ids(header, lines)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UserError(f"{path} is damaged or incomplete: write it again with {COMMAND}") from None
    is_duplicate = np.isin(source.ids(np.arange(source.count)), ids)
    if is_duplicate.sum() != len(ids):
        raise UserError(f"{path} is damaged: it names images that {source.name} does not hold, or one twice")
    return Exclusion(np.flatnonzero(is_duplicate), against, distance, sha256)


def _check_source(path: epath.Path, about: dict[str, Any], source: Source) -> None:
    """Raises UserError unless a sidecar is of a source as it is now."""
    if about["source"] != source.name:
        raise UserError(f"{path} is of the images of {about['source']}, not of {source.name}: run {COMMAND} on these")
    if (about["count"], about["ids"]) != (source.count, identity_of(source)):
        raise UserError(
            f"{path} is of {about['count']} images that {source.name} held, and now it holds {source.count}, or "
            f"others: run {COMMAND} again"
        )


def _read_ids(header: dict[str, Any], lines: list[bytes]) -> np.ndarray:
    """Ids of the duplicates, byte strings [K]. Raises ValueError where lines are damaged, or not as many as counted."""
    expected = {kind: header["counts"][kind] for kind in KINDS}
    expected[BROKEN] = sum(about["broken"] for about in (header["unlabeled"], *header["against"]))
    ids, seen = [], dict.fromkeys(expected, 0)
    for line in lines:
        entry = json.loads(line)
        seen[entry["kind"]] += 1
        if entry["kind"] != BROKEN:
            ids.append(to_bytes(entry["id"]))
    if seen != expected:
        raise ValueError("not as many lines as the first one says")
    return np.array(ids, np.bytes_)


def _parse(line: bytes) -> dict[str, Any] | None:
    """The JSON object of a line; None where there is none."""
    try:
        value = json.loads(line)
    except ValueError:  # of JSON, and of UTF-8
        return None
    return value if isinstance(value, dict) else None
