"""Which labeled images are validated on: a part of them, of every class alike, drawn once for the whole run."""

import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from ns_jax.errors import UserError


def part_of_each(labels: np.ndarray, groups: Sequence[str] | None, parts: int, seed: int) -> np.ndarray:
    """Divides examples into parts of nearly the same size and the same classes.

    Args:
      labels: int [N].
      groups: [N], examples of one group stay together (images of one patient, of one module); None: each for itself.
      parts: how many, at least 2.
      seed: of the draw.

    Returns:
      int32 [N], the part of each example.

    Raises:
      UserError: there are fewer examples of every class, or fewer groups, than parts.
    """
    splitter = (StratifiedKFold if groups is None else StratifiedGroupKFold)(parts, shuffle=True, random_state=seed)
    part = np.empty(len(labels), np.int32)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a class with fewer examples than parts: some parts go without it
            for number, (_, members) in enumerate(splitter.split(np.zeros(len(labels)), labels, groups)):
                part[members] = number
    except ValueError:
        raise UserError(
            f"{len(labels)} labeled images in {len(np.unique(labels))} classes cannot be divided into {parts} parts to "
            "validate on: label more, or validate on fewer parts"
        ) from None
    return part
