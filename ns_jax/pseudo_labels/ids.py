"""Images of one file among those of another, by id."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from ns_jax.errors import UserError


class Images(Protocol):
    """What is asked of the source of unlabeled images, see `ns_jax.data.sources.base.Source`."""

    @property
    def name(self) -> str: ...
    @property
    def count(self) -> int: ...
    @property
    def ids(self) -> Callable[[np.ndarray], np.ndarray]: ...


def require_known(what: str, shard: int, ids: np.ndarray, known: np.ndarray) -> None:
    """Raises UserError, with the first of them, if some `ids` are not among the `known`."""
    unknown = ~np.isin(ids, known)
    if unknown.any():
        first = ids[unknown.argmax()].decode(errors="replace")
        raise UserError(f"shard {shard}: {what}, first {first!r}")


def positions(ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where each of `wanted`, byte strings [N], is among `ids`: int64 [N]."""
    order = np.argsort(ids)
    return order[np.searchsorted(ids, wanted, sorter=order)]
