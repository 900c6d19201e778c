"""What a selection that was interrupted has found out: arrays in one file, for one question."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
from etils import epath

from ns_jax.files import write_bytes

Arrays = dict[str, np.ndarray]


class Progress:
    """Arrays that are computed once, and read when the same question is asked again.

    Args:
      path: of the file; it is removed with `clear`.
      question: text on which all answers depend. What was found out for another one is forgotten.
    """

    def __init__(self, path: epath.Path, question: str):
        self._path, self._question = path, question
        self._known: dict[str, Arrays] = _read(path, question)

    def once(self, name: str, compute: Callable[[], Arrays]) -> Arrays:
        """What `compute` returns, or has returned before the interruption."""
        if name not in self._known:
            self.keep(name, compute())
        return self._known[name]

    def known(self, name: str) -> Arrays | None:
        return self._known.get(name)

    def keep(self, name: str, arrays: Arrays) -> None:
        """Writes arrays down, in place of others of that name."""
        self._known[name] = arrays
        buffer = io.BytesIO()
        named: dict[str, Any] = {
            f"{name}/{key}": value for name, values in self._known.items() for key, value in values.items()
        }
        np.savez(buffer, question=np.array(self._question), **named)
        write_bytes(self._path, buffer.getvalue())

    def clear(self) -> None:
        self._path.unlink(missing_ok=True)


def _read(path: epath.Path, question: str) -> dict[str, Arrays]:
    """{name: arrays}; nothing where the file is missing, damaged or of another question."""
    known: dict[str, Arrays] = {}
    try:
        with np.load(io.BytesIO(path.read_bytes())) as file:
            if str(file["question"]) != question:
                return {}
            for full_name in file.files:
                name, _, key = full_name.partition("/")
                if key:
                    known.setdefault(name, {})[key] = file[full_name]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}
    return known


def question(**about: object) -> str:
    """Digest of everything that a selection depends on, of values that JSON knows."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
