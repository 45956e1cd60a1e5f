"""Medians, spreads, ratios and percentiles of what was measured."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    """The median over the blocks, with the least and the greatest."""

    median: float
    low: float
    high: float


def summarise(values: Sequence[float]) -> Summary:
    """Raises ValueError where there are none."""
    if not values:
        raise ValueError("nothing was measured")
    return Summary(statistics.median(values), min(values), max(values))


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> Summary:
    """The ratio within each block, then its median and spread: what slows a whole block then cancels.

    Raises ValueError where the two differ in length.
    """
    return summarise([above / below for above, below in zip(numerators, denominators, strict=True)])


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` (0..1) of the values do not exceed. Raises ValueError where there are none."""
    if not values:
        raise ValueError("nothing was measured")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def knee(throughputs: dict[int, float], share: float = 0.95) -> int:
    """The lowest concurrency whose throughput is at least `share` of the best: beyond it, waiting alone grows."""
    best = max(throughputs.values())
    return min(concurrency for concurrency, rate in throughputs.items() if rate >= share * best)
