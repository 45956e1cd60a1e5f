"""How much is sent when: each scenario as stages, in shares of the server's capacity."""

from collections.abc import Callable
from dataclasses import dataclass

ORDINARY = 0.7  # of capacity; nearer to it, waiting grows without bound however good the server
SPIKE_SECONDS = 30
LITTLE = 0.2
RECOVERY_SECONDS = 60  # of little load after an overload, to watch the server come back


@dataclass(frozen=True)
class Stage:
    """seconds: how long; load: requests offered, as a share of capacity."""

    seconds: float
    load: float


Timetable = tuple[Stage, ...]


def steady(minutes: float) -> Timetable:
    """A working day."""
    return (Stage(60 * minutes, ORDINARY),)


def ramp(minutes: float) -> Timetable:
    """More and more until half as much again as capacity, then little."""
    loads = (0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.5)
    return (*(Stage(60 * minutes / len(loads), load) for load in loads), Stage(RECOVERY_SECONDS, LITTLE))


def spike(minutes: float) -> Timetable:
    """Little for `minutes`, ten times as much for half a minute, little again."""
    return (Stage(60 * minutes, LITTLE), Stage(SPIKE_SECONDS, 10 * LITTLE), Stage(RECOVERY_SECONDS, LITTLE))


@dataclass(frozen=True)
class Scenario:
    """stages: the timetable for a number of minutes; minutes: how many where nobody says.

    paced, unpaced: the locustfiles with its users, on the timetable and without a pause.
    """

    stages: Callable[[float], Timetable]
    minutes: float
    paced: str = "paced.py"
    unpaced: str = "unpaced.py"


SCENARIOS = {
    "steady": Scenario(steady, 5),
    "ramp": Scenario(ramp, 4),
    "spike": Scenario(spike, 1),
    "soak": Scenario(steady, 30),
    "even": Scenario(steady, 3, "even.py", "even_unpaced.py"),
}


def load_at(stages: Timetable, second: float) -> float | None:
    """The load at a second after the start; None once the timetable has ended."""
    for stage in stages:
        second -= stage.seconds
        if second < 0:
            return stage.load
    return None


def starts(stages: Timetable) -> list[float]:
    """The second at which each stage starts."""
    return [sum(stage.seconds for stage in stages[:index]) for index in range(len(stages))]


def is_ordinary(stages: Timetable, second: float) -> bool:
    """Whether the load at a second is one that a server should carry for good, and no overload came before."""
    beyond = overload(stages)
    load = load_at(stages, second)
    return load is not None and load <= ORDINARY and (beyond is None or second < beyond[0])


def overload(stages: Timetable) -> tuple[float, float] | None:
    """The seconds at which the load first exceeds capacity and at which that is over; None where it never does."""
    beyond = [
        (start, start + stage.seconds) for start, stage in zip(starts(stages), stages, strict=True) if stage.load > 1
    ]
    return (beyond[0][0], beyond[-1][1]) if beyond else None
