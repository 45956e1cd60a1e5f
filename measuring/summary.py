"""Percentiles, medians and ratios of measurements."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    """The median over the blocks of a benchmark, with the least and the greatest."""

    median: float
    low: float
    high: float

    def text(self, digits: int) -> str:
        """Return "median (low to high)"."""
        return f"{self.median:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


def summarise(values: Sequence[float]) -> Summary:
    """Summarise the values of the blocks. Raises ValueError where there are none."""
    if not values:
        raise ValueError("nothing was measured")
    return Summary(statistics.median(values), min(values), max(values))


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Summary:
    """Summarise the ratios within each block: what slows a whole block then cancels.

    Raises ValueError where the two differ in length or are empty.
    """
    return summarise([above / below for above, below in zip(numerators, denominators, strict=True)])


def percentile(values: Iterable[float], share: float) -> float:
    """Return the smallest value that at least `share` (0..1) of the values do not exceed (nearest rank).

    Raises ValueError where there are none.
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("nothing was measured")
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
