"""Measurements that are made part by part: each in a file of its own, so that an interrupted one goes on."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from etils import epath

from ns_jax.errors import UserError
from ns_jax.files import read_json, write_json
from ns_jax.parallel.hosts import barrier, is_process_zero


class IncompleteError(UserError):
    """Something is missing for the result of an evaluation; what is there has been measured, and is in its parts."""


@dataclasses.dataclass(frozen=True)
class Parts:
    """The finished parts of an evaluation.

    Attributes:
      folder: of their files; None: they are not kept.
      about: what they are of: the model's fingerprint, the source, the options.
    """

    folder: epath.Path | None
    about: dict[str, Any]

    def get(self, name: str, measure: Callable[[], dict]) -> dict:
        """The part called `name`: read, or measured and written with the seconds that it took. All hosts alike.

        Raises:
          UserError: the file is of another model, source or options.
        """
        path = None if self.folder is None else self.folder / f"{name.replace('/', '-')}.json"
        if path is not None and path.exists():
            part = read_json(path)
            for key, value in self.about.items():
                if part.get(key) != value:
                    raise UserError(f"{path} is of another {key}: delete {self.folder} to measure again")
            return part
        begin = time.monotonic()
        part = {"part": name, **self.about, **measure(), "seconds": round(time.monotonic() - begin, 3)}
        if path is not None:
            if is_process_zero():
                write_json(path, part)
            barrier(f"evaluate: {path} is written")
        return part


def in_parts(function: Callable) -> Callable:
    """Marks an evaluation that is made in parts: it takes `Parts` as its fifth argument."""
    function.takes_parts = True  # type: ignore[attr-defined]
    return function


def checks_source(check: Callable) -> Callable:
    """Decorates an evaluation with `check(source)`, which raises UserError for one that it cannot measure.

    A run calls it before it trains.
    """

    def decorate(function: Callable) -> Callable:
        function.check_source = check  # type: ignore[attr-defined]
        return function

    return decorate


def measure(function: Callable, predictor, source, indices, options, parts: Parts) -> dict:
    """Calls an evaluation, with `parts` where it takes them.

    Args:
      function: of the registry.
      predictor, source, options: see there.
      indices: of the examples, as an array or as `ns_jax.data.examples.AllBut`.
      parts: those that are finished.
    """
    more = (parts,) if getattr(function, "takes_parts", False) else ()
    return function(predictor, source, np.asarray(indices, np.int64), options, *more)
