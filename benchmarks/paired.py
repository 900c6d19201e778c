"""Differences of two models that were trained with the same seeds, and what they decide."""

import dataclasses
import math
import statistics
from collections.abc import Sequence

from scipy import stats

AGREES, DISAGREES, OPEN = "agrees", "disagrees", "not decided"


@dataclasses.dataclass(frozen=True)
class Difference:
    """Of two models, seed by seed.

    Attributes:
      values: of each seed, at least one.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.mean(self.values)

    @property
    def half_width(self) -> float:
        """Of the 95 % interval, Student's t over the seeds; infinite with fewer than two."""
        count = len(self.values)
        if count < 2:
            return math.inf
        return float(stats.t.ppf(0.975, count - 1) * statistics.stdev(self.values) / count**0.5)

    @property
    def low(self) -> float:
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        return self.mean + self.half_width


def verdict(difference: Difference | None, wants_more: bool = True) -> str:
    """Whether an interval leaves out 0, and on which side.

    Args:
      difference: None where there is none.
      wants_more: whether it ought to be above 0; else below.
    """
    if difference is None or difference.low <= 0 <= difference.high:
        return OPEN
    return AGREES if (difference.mean > 0) == wants_more else DISAGREES


def difference_of(values: Sequence[float], others: Sequence[float]) -> Difference:
    """Of two models, by the values of the same seeds."""
    return Difference(tuple(value - other for value, other in zip(values, others, strict=True)))
