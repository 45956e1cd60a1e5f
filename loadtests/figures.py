"""Figures of a run, from its requests and its memory samples. Pure functions."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loadtests.memory import Sample
from loadtests.requests_sent import Request

WARM_UP = 0.1  # of a run's memory samples, left out: caches fill and the heap takes its size


@dataclass(frozen=True)
class Latency:
    """Milliseconds of the requests that were served."""

    count: int
    p50: float
    p99: float

    @property
    def spread(self) -> float:
        """How much longer the slowest hundredth takes than the middle one."""
        return self.p99 / self.p50


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def latency(requests: Iterable[Request], endpoint: str, kind: str | None = None) -> Latency | None:
    """Of the served requests to an endpoint, for one kind of picture or all; None where there are none."""
    times = [
        request.milliseconds
        for request in requests
        if request.outcome == "served" and request.endpoint == endpoint and kind in (None, request.kind)
    ]
    return Latency(len(times), percentile(times, 0.5), percentile(times, 0.99)) if times else None


@dataclass(frozen=True)
class Growth:
    """Bytes that a group of processes held of its own, as medians over a tenth of the run each."""

    first: float
    last: float

    @property
    def share(self) -> float:
        """Growth as a share of what there was; negative where it shrank."""
        return self.last / self.first - 1


def growth(samples: Iterable[Sample], process: str) -> Growth | None:
    """From the first tenth after the warm-up to the last tenth; None where there are too few samples for tenths."""
    held: dict[float, int] = {}
    for sample in samples:
        if sample.process == process:
            held[sample.second] = held.get(sample.second, 0) + sample.own
    totals = [held[second] for second in sorted(held)]
    totals = totals[math.ceil(WARM_UP * len(totals)) :]
    tenth = len(totals) // 10
    return Growth(statistics.median(totals[:tenth]), statistics.median(totals[-tenth:])) if tenth else None


def ended_processes(samples: Sequence[Sample]) -> int:
    """Processes that were there at one look and not at the last."""
    at_the_end = {sample.pid for sample in samples if sample.second == samples[-1].second}
    return len({sample.pid for sample in samples} - at_the_end)
