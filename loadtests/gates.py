"""What a run must hold to. Pure functions from what was recorded to verdicts; docs/load.md gives the reasons."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from loadtests.figures import ended_processes, growth, latency
from loadtests.memory import Sample
from loadtests.mix import ENDPOINTS, METRONOME, TYPICAL
from loadtests.requests_sent import Request
from loadtests.timetable import Timetable, is_ordinary, overload, starts

BUDGET = {"authenticity": 1000, "generator_type": 1000, "explanation": 2000}  # milliseconds, p99, under ordinary load
PATIENCE = 30_000  # milliseconds, p99, past capacity: the time-out that docs/api.md gives to callers
SPREAD = 2.5  # p99 / p50
GROWTH = 0.03
RECOVERY = 30  # seconds; a full queue takes some of them to work off
ENOUGH = 100  # requests for a spread; the p99 of fewer is their slowest, which says little of the middle


@dataclass(frozen=True)
class Gate:
    """passed: None where too little was recorded to judge."""

    name: str
    figure: str
    limit: str
    passed: bool | None


def judge(
    scenario: str, stages: Timetable, capacity: float, requests: list[Request], memory: list[Sample]
) -> list[Gate]:
    """Every gate of a scenario. capacity: requests a second that the timetable's loads are shares of."""
    beyond = overload(stages)
    gates = [unexpected_failures(requests, beyond), pace(stages, capacity, requests), workers_lived(memory)]
    asked = list(METRONOME.endpoints) if scenario == "even" else ENDPOINTS
    ordinary = [request for request in requests if is_ordinary(stages, request.second)]
    gates += [within_budget(ordinary, endpoint) for endpoint in asked]
    if beyond:
        gates += [within_patience(requests, beyond), recovery(requests, beyond)]
    if scenario == "even":
        gates += [spread(requests, endpoint) for endpoint in asked]
    if scenario == "soak":
        gates += [memory_growth(memory, process) for process in ("java", "worker")]
    return gates


def unexpected_failures(requests: Sequence[Request], beyond: tuple[float, float] | None) -> Gate:
    """Every failure counts, but for refusals from the time the load exceeds capacity until it should have recovered."""

    def expected(request: Request) -> bool:
        orderly = beyond is not None and beyond[0] <= request.second < beyond[1] + RECOVERY
        return request.outcome in ("served", "declined") or (request.outcome == "refused" and orderly)

    wrong = [request for request in requests if not expected(request)]
    example = f", such as {wrong[0].endpoint} at {wrong[0].second:.0f} s: {wrong[0].fault}" if wrong else ""
    # A run that sent nothing shows nothing.
    return Gate("unexpected failures", f"{len(wrong)} of {len(requests)}{example}", "0", bool(requests) and not wrong)


def pace(stages: Timetable, capacity: float, requests: Sequence[Request]) -> Gate:
    """Under ordinary load, as much was sent as the timetable wants: else the load generator was the one under test.

    Arrivals are random; what chance takes away (three standard deviations) is allowed for.
    """
    windows = [
        (start, start + stage.seconds, stage.load * capacity * stage.seconds)
        for start, stage in zip(starts(stages), stages, strict=True)
        if is_ordinary(stages, start)
    ]
    planned = sum(count for *_, count in windows)
    sent = sum(any(start <= request.second < end for start, end, _ in windows) for request in requests)
    least = max(1, math.floor(0.95 * planned - 3 * math.sqrt(planned)))
    return Gate("requests sent under ordinary load", f"{sent} of {planned:.0f}", f">= {least}", sent >= least)


def workers_lived(memory: Sequence[Sample]) -> Gate:
    """No worker ended, even where nobody's request was lost by it."""
    if not memory:
        return Gate("workers that ended", "not watched", "0", None)
    ended = ended_processes(memory)
    return Gate("workers that ended", str(ended), "0", ended == 0)


def within_budget(requests: Sequence[Request], endpoint: str) -> Gate:
    """The p99 of all served pictures, large ones too."""
    budget = BUDGET[endpoint]
    name, limit = f"p99 of {endpoint}", f"<= {budget} ms"
    measured = latency(requests, endpoint)
    if not measured:
        return _too_few(name, limit, 0)
    return Gate(name, f"{measured.p99:.0f} ms", limit, measured.p99 <= budget)


def spread(requests: Sequence[Request], endpoint: str) -> Gate:
    """p99 / p50 of one kind of picture at equal gaps: else it would tell how the pictures differ and how often requests
    meet by chance, not what the server adds.
    """
    name, limit = f"p99 / p50 of {endpoint}, {TYPICAL}", f"<= {SPREAD}"
    measured = latency(requests, endpoint, str(TYPICAL))
    if not measured or measured.count < ENOUGH:
        return _too_few(name, limit, measured.count if measured else 0)
    return Gate(name, f"{measured.spread:.2f}", limit, measured.spread <= SPREAD)


def within_patience(requests: Sequence[Request], beyond: tuple[float, float]) -> Gate:
    """Whoever is let in past capacity is answered before callers give up."""
    name, limit = "slowest p99 past capacity", f"<= {PATIENCE / 1000:.0f} s"
    during = [request for request in requests if beyond[0] <= request.second < beyond[1]]
    worst = max((measured.p99 for endpoint in ENDPOINTS if (measured := latency(during, endpoint))), default=None)
    if worst is None:
        return _too_few(name, limit, 0)
    return Gate(name, f"{worst / 1000:.1f} s", limit, worst <= PATIENCE)


def recovery(requests: Sequence[Request], beyond: tuple[float, float]) -> Gate:
    """From the end of an overload until the last request that was refused, failed or over its budget was sent."""
    after = [request for request in requests if request.second >= beyond[1]]
    name, limit = "recovery after the overload", f"<= {RECOVERY} s"
    if not any(request.second >= beyond[1] + RECOVERY for request in after):
        return _too_few(name, limit, len(after))
    wrong = [
        request.second - beyond[1]
        for request in after
        if request.outcome in ("refused", "failed") or request.milliseconds > BUDGET[request.endpoint]
    ]
    seconds = max(wrong, default=0.0)
    return Gate(name, f"{seconds:.1f} s", limit, seconds <= RECOVERY)


def memory_growth(memory: Sequence[Sample], process: str) -> Gate:
    """From the first tenth of the run, after its warm-up, to the last."""
    grown = growth(memory, process)
    name, limit = f"memory growth, {process}", f"< {GROWTH:.0%}"
    if not grown:
        return Gate(name, "too few samples", limit, None)
    figure = f"{grown.share:+.1%} ({grown.first / 2**20:.0f} to {grown.last / 2**20:.0f} MiB)"
    return Gate(name, figure, limit, grown.share < GROWTH)


def _too_few(name: str, limit: str, count: int) -> Gate:
    return Gate(name, f"too few requests ({count})", limit, None)
