"""What a run must hold to: pure functions from what was recorded to gates. docs/load.md gives the reasons."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loadtests.memory import Sample, ended_processes, growth
from loadtests.mix import ENDPOINTS, TYPICAL, kind_name
from loadtests.recorder import Request
from loadtests.scenarios import CONSTANT, Stages, ordinary_stages, overload
from measuring.summary import percentile

BUDGET = {"authenticity": 1000, "generator_type": 1000, "explanation": 2000}  # milliseconds, p99, ordinary load
TIMEOUT = 30_000  # milliseconds, p99, under overload: the time-out that docs/api.md gives to callers
SPREAD = 2.5  # p99 / p50
GROWTH = 3  # per cent
RECOVERY = 30  # seconds; a full queue takes some of them to work off
ENOUGH = 100  # requests for a p99: of fewer it is their slowest
TYPICAL_KIND = kind_name(*TYPICAL)


@dataclass(frozen=True)
class Gate:
    """passed: None where too little was recorded to judge."""

    name: str
    value: str
    limit: str
    passed: bool | None


def latencies(requests: Iterable[Request], endpoint: str, image: str | None = None) -> list[float]:
    """Return the milliseconds of an endpoint's served requests, for one kind of image or all."""
    return [
        request.milliseconds
        for request in requests
        if request.outcome == "served" and request.endpoint == endpoint and image in (None, request.image)
    ]


def judge(scenario: str, stages: Stages, rate: float, requests: list[Request], memory: list[Sample]) -> list[Gate]:
    """Return every gate of a scenario. rate: requests a second at a load of 1."""
    endpoints = ("authenticity",) if scenario == CONSTANT else ENDPOINTS
    usual, beyond = ordinary_stages(stages), overload(stages)
    ordinary = [request for request in requests if any(stage.start <= request.second < stage.end for stage in usual)]
    gates = [unexpected_failures(requests, beyond), requests_sent(usual, rate, ordinary), workers_ended(memory)]
    gates += [within_budget(ordinary, endpoint) for endpoint in endpoints]
    if beyond:
        gates += [within_timeout(requests, beyond), recovery(requests, beyond)]
    if scenario == CONSTANT:
        gates.append(latency_spread(requests))
    if scenario == "soak":
        gates += [memory_growth(memory, process) for process in ("java", "worker")]
    return gates


def unexpected_failures(requests: Sequence[Request], beyond: tuple[float, float] | None) -> Gate:
    """Allow rejections from the start of an overload until the server must have recovered, and no other failure."""

    def expected(request: Request) -> bool:
        overloaded = beyond is not None and beyond[0] <= request.second < beyond[1] + RECOVERY
        return request.outcome in ("served", "expected_4xx") or (request.outcome == "rejected" and overloaded)

    wrong = [request for request in requests if not expected(request)]
    example = f", such as {wrong[0].endpoint} at {wrong[0].second:.0f} s: {wrong[0].fault}" if wrong else ""
    # A run that sent nothing shows nothing.
    return Gate("unexpected failures", f"{len(wrong)} of {len(requests)}{example}", "0", bool(requests) and not wrong)


def requests_sent(usual: Stages, rate: float, ordinary: Sequence[Request]) -> Gate:
    """Require that as much was sent as planned, less three standard deviations of chance: else Locust was too slow."""
    planned = sum(stage.load * rate * (stage.end - stage.start) for stage in usual)
    least = max(1, math.floor(0.95 * planned - 3 * math.sqrt(planned)))
    sent = len(ordinary)
    return Gate("requests sent under ordinary load", f"{sent} of {planned:.0f}", f">= {least}", sent >= least)


def workers_ended(memory: Sequence[Sample]) -> Gate:
    """Allow no worker to end, even where no request was lost by it."""
    return _at_most("workers that ended", ended_processes(memory) if memory else None, 0)


def within_budget(requests: Sequence[Request], endpoint: str) -> Gate:
    """Limit the p99 of all served images, large ones too."""
    served = latencies(requests, endpoint)
    return _at_most(f"p99 of {endpoint}", percentile(served, 0.99) if served else None, BUDGET[endpoint], " ms")


def within_timeout(requests: Sequence[Request], beyond: tuple[float, float]) -> Gate:
    """Require that what is accepted under overload is answered before callers give up."""
    during = [request for request in requests if beyond[0] <= request.second < beyond[1]]
    p99s = [percentile(served, 0.99) for endpoint in ENDPOINTS if (served := latencies(during, endpoint))]
    return _at_most("slowest p99 under overload", max(p99s, default=None), TIMEOUT, " ms")


def latency_spread(requests: Sequence[Request]) -> Gate:
    """Limit p99 / p50 of one kind of image at a constant rate, where nothing but the server spreads latencies."""
    served = latencies(requests, "authenticity", TYPICAL_KIND)
    spread = percentile(served, 0.99) / percentile(served, 0.5) if len(served) >= ENOUGH else None
    return _at_most(f"p99 / p50 of authenticity, {TYPICAL_KIND}", spread, SPREAD)


def recovery(requests: Sequence[Request], beyond: tuple[float, float]) -> Gate:
    """Limit the time from the end of an overload until the last request that was rejected, failed or over budget."""
    after = [request for request in requests if request.second >= beyond[1]]
    late = [
        request.second - beyond[1]
        for request in after
        if request.outcome in ("rejected", "failed") or request.milliseconds > BUDGET[request.endpoint]
    ]
    watched = any(request.second >= beyond[1] + RECOVERY for request in after)
    return _at_most("recovery after the overload", max(late, default=0.0) if watched else None, RECOVERY, " s")


def memory_growth(memory: Sequence[Sample], process: str) -> Gate:
    """Limit the growth from the first tenth of the run, after its warm-up, to the last."""
    held = growth(memory, process)
    mib = f" % ({held[0] / 2**20:.0f} to {held[1] / 2**20:.0f} MiB)" if held else ""
    return _at_most(f"memory growth, {process}", 100 * (held[1] / held[0] - 1) if held else None, GROWTH, mib)


def _at_most(name: str, value: float | None, limit: float, unit: str = "") -> Gate:
    if value is None:
        return Gate(name, "too little was recorded", f"<= {limit}", None)
    return Gate(name, f"{value:.3g}{unit}" if value < 100 else f"{value:.0f}{unit}", f"<= {limit}", value <= limit)
