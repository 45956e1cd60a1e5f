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
GROWTH = 0.03
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
    ended = ended_processes(memory)
    return Gate("workers that ended", str(ended) if memory else "not sampled", "0", ended == 0 if memory else None)


def within_budget(requests: Sequence[Request], endpoint: str) -> Gate:
    """Limit the p99 of all served images, large ones too."""
    return _p99_gate(f"p99 of {endpoint}", latencies(requests, endpoint), BUDGET[endpoint])


def within_timeout(requests: Sequence[Request], beyond: tuple[float, float]) -> Gate:
    """Require that what is accepted under overload is answered before callers give up."""
    during = [request for request in requests if beyond[0] <= request.second < beyond[1]]
    served = [found for endpoint in ENDPOINTS if (found := latencies(during, endpoint))]
    slowest = max(served, key=lambda values: percentile(values, 0.99), default=[])
    return _p99_gate("slowest p99 under overload", slowest, TIMEOUT)


def latency_spread(requests: Sequence[Request]) -> Gate:
    """Limit p99 / p50 of one kind of image at a constant rate, where nothing but the server spreads latencies."""
    name, limit = f"p99 / p50 of authenticity, {TYPICAL_KIND}", f"<= {SPREAD}"
    served = latencies(requests, "authenticity", TYPICAL_KIND)
    if len(served) < ENOUGH:
        return _too_few(name, limit, served)
    spread = percentile(served, 0.99) / percentile(served, 0.5)
    return Gate(name, f"{spread:.2f}", limit, spread <= SPREAD)


def recovery(requests: Sequence[Request], beyond: tuple[float, float]) -> Gate:
    """Limit the time from the end of an overload until the last request that was rejected, failed or over budget."""
    after = [request for request in requests if request.second >= beyond[1]]
    name, limit = "recovery after the overload", f"<= {RECOVERY} s"
    if not any(request.second >= beyond[1] + RECOVERY for request in after):
        return _too_few(name, limit, after)
    late = [
        request.second - beyond[1]
        for request in after
        if request.outcome in ("rejected", "failed") or request.milliseconds > BUDGET[request.endpoint]
    ]
    seconds = max(late, default=0.0)
    return Gate(name, f"{seconds:.1f} s", limit, seconds <= RECOVERY)


def memory_growth(memory: Sequence[Sample], process: str) -> Gate:
    """Limit the growth from the first tenth of the run, after its warm-up, to the last."""
    name, limit, held = f"memory growth, {process}", f"< {GROWTH:.0%}", growth(memory, process)
    if not held:
        return Gate(name, "too few samples", limit, None)
    first, last = held
    value = f"{last / first - 1:+.1%} ({first / 2**20:.0f} to {last / 2**20:.0f} MiB)"
    return Gate(name, value, limit, last / first - 1 < GROWTH)


def _p99_gate(name: str, served: Sequence[float], limit: int) -> Gate:
    if not served:
        return _too_few(name, f"<= {limit} ms", served)
    p99 = percentile(served, 0.99)
    return Gate(name, f"{p99:.0f} ms", f"<= {limit} ms", p99 <= limit)


def _too_few(name: str, limit: str, recorded: Sequence[object]) -> Gate:
    return Gate(name, f"too few requests ({len(recorded)})", limit, None)
