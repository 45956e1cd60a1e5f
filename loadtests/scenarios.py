"""How many requests are sent when: scenarios as stages, in shares of the server's throughput."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

ORDINARY = 0.7  # of the throughput; nearer to it, waiting grows without bound however good the server
LOW = 0.2
SPIKE_SECONDS = 30
RECOVERY_SECONDS = 60  # of low load after an overload, to watch the server recover


@dataclass(frozen=True)
class Stage:
    """start, end: in seconds from the start of the run. load: requests sent, as a share of the throughput."""

    start: float
    end: float
    load: float


Stages = Sequence[Stage]


def stages_of(*parts: tuple[float, float]) -> Stages:
    """Return stages that follow each other, of (seconds, load)."""
    stages: list[Stage] = []
    for seconds, load in parts:
        start = stages[-1].end if stages else 0.0
        stages.append(Stage(start, start + seconds, load))
    return stages


def _climb(minutes: float) -> Stages:
    loads = (0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.5)
    return stages_of(*((60 * minutes / len(loads), load) for load in loads), (RECOVERY_SECONDS, LOW))


def _spike(minutes: float) -> Stages:
    return stages_of((60 * minutes, LOW), (SPIKE_SECONDS, 10 * LOW), (RECOVERY_SECONDS, LOW))


def _steady(minutes: float) -> Stages:
    return stages_of((60 * minutes, ORDINARY))


CONSTANT = "constant"  # one kind of request at equal gaps; the other scenarios send the mix as a Poisson process
# The stages for a number of minutes, and the minutes where none are given.
SCENARIOS: dict[str, tuple[Callable[[float], Stages], float]] = {
    "steady": (_steady, 5),
    "ramp": (_climb, 4),
    "spike": (_spike, 1),
    "soak": (_steady, 30),
    CONSTANT: (_steady, 3),
}


def arrivals(stages: Stages, rate: float, constant: bool) -> Iterator[float]:
    """Yield the seconds at which to send: at equal gaps, or with exponential ones (a Poisson process).

    rate: requests a second at a load of 1.
    """
    for stage in stages:
        due = stage.start
        while (due := due + (1 if constant else random.expovariate(1)) / (stage.load * rate)) < stage.end:
            yield due


def ordinary_stages(stages: Stages) -> Stages:
    """Return the stages with a load to carry for good and no overload before them."""
    beyond = overload(stages)
    return [stage for stage in stages if stage.load <= ORDINARY and (beyond is None or stage.end <= beyond[0])]


def overload(stages: Stages) -> tuple[float, float] | None:
    """Return the seconds at which the load first exceeds the throughput and at which that is over; None: never."""
    beyond = [stage for stage in stages if stage.load > 1]
    return (beyond[0].start, beyond[-1].end) if beyond else None
