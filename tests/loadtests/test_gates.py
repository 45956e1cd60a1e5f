"""Each gate passes what is in order and trips on what it is there for."""

from dataclasses import replace

import pytest

from loadtests import gates
from loadtests.memory import Sample
from loadtests.mix import ENDPOINTS, TYPICAL
from loadtests.requests_sent import Request
from loadtests.timetable import overload, spike, steady

MINUTES = 2
CAPACITY = 10
STEADY = steady(MINUTES)
SPIKE = spike(1)
OVERLOAD = overload(SPIKE)


def request(second: float, **changes) -> Request:
    return replace(Request(second, "REST", "authenticity", str(TYPICAL), 50.0, "served"), **changes)


@pytest.fixture
def orderly() -> list[Request]:
    """Two minutes at the rate that the timetable wants, all endpoints, some broken pictures."""
    count = round(60 * MINUTES * 0.7 * CAPACITY)
    return [
        request(
            index * 60 * MINUTES / count,
            endpoint=ENDPOINTS[index % 3],
            milliseconds=50 + index % 20,
            **({"kind": "broken", "outcome": "declined"} if index % 50 == 7 else {}),
        )
        for index in range(count)
    ]


def samples(java: list[float], worker: list[float], pid: int = 2) -> list[Sample]:
    """One look every five seconds. java, worker: MiB."""
    looks = [
        [
            Sample(5.0 * index, "java", 1, 0, int(mib * 2**20), 0),
            Sample(5.0 * index, "worker", pid, 0, int(other * 2**20), 0),
        ]
        for index, (mib, other) in enumerate(zip(java, worker, strict=True))
    ]
    return [sample for look in looks for sample in look]


FLAT = samples([400.0] * 100, [350.0] * 100)


def missed(scenario: str, stages, requests, memory) -> list[str]:
    return [gate.name for gate in gates.judge(scenario, stages, CAPACITY, requests, memory) if gate.passed is False]


def test_an_orderly_run_misses_nothing_and_leaves_nothing_unjudged(orderly):
    assert all(gate.passed for gate in gates.judge("soak", STEADY, CAPACITY, orderly, FLAT))


@pytest.mark.parametrize("outcome", ["failed", "refused"])
def test_one_failure_is_too_many(orderly, outcome):
    orderly[100] = replace(orderly[100], outcome=outcome, fault="status 503")
    assert missed("steady", STEADY, orderly, FLAT) == ["unexpected failures"]


def test_a_run_without_requests_shows_nothing():
    assert "unexpected failures" in missed("steady", STEADY, [], FLAT)


def test_refusals_are_orderly_past_capacity_alone():
    before, during, recovering, late = 30, OVERLOAD[0] + 5, OVERLOAD[1] + 5, OVERLOAD[1] + gates.RECOVERY + 5
    for second, passed in ((before, False), (during, True), (recovering, True), (late, False)):
        sent = [request(0), request(second, outcome="refused")]
        assert gates.unexpected_failures(sent, OVERLOAD).passed is passed, second
    assert not gates.unexpected_failures([request(during, outcome="failed")], OVERLOAD).passed


def test_a_load_generator_that_falls_behind_is_seen(orderly):
    assert missed("steady", STEADY, orderly[: len(orderly) * 3 // 4], FLAT) == ["requests sent under ordinary load"]


def test_p99_over_its_budget(orderly):
    slow = [replace(sent, milliseconds=20 * sent.milliseconds) for sent in orderly]
    assert missed("steady", STEADY, slow, FLAT) == ["p99 of authenticity", "p99 of generator_type"]


def test_overload_is_not_held_to_the_budget():
    during = [request(OVERLOAD[0] + index / 10, milliseconds=9000) for index in range(250)]
    sent = [request(index / 2) for index in range(110)] + during
    names = {gate.name: gate.passed for gate in gates.judge("spike", SPIKE, CAPACITY, sent, FLAT)}
    assert names["p99 of authenticity"] and names["slowest p99 past capacity"]
    assert not gates.within_patience([replace(one, milliseconds=31_000) for one in during], OVERLOAD).passed


def test_spread_is_judged_on_one_kind_of_picture(orderly):
    """Large pictures may take longer; of like pictures a hundredth may not."""
    large = [replace(sent, kind="4000x3000 JPEG", milliseconds=400) for sent in orderly[:20]]
    assert missed("steady", STEADY, orderly + large, FLAT) == []
    waited = [replace(sent, milliseconds=400) if index % 40 < 3 else sent for index, sent in enumerate(orderly)]
    assert missed("even", STEADY, waited, FLAT) == ["p99 / p50 of authenticity, 1024x768 JPEG"]
    assert missed("steady", STEADY, waited, FLAT) == [], "random arrivals and mixed pictures spread by themselves"


def test_a_spread_of_few_requests_is_not_judged(orderly):
    assert gates.spread(orderly[:30], "authenticity").passed is None


def test_recovery():
    normal = [request(OVERLOAD[1] + index / 2) for index in range(110)]
    assert gates.recovery(normal, OVERLOAD).figure == "0.0 s"
    slow_for = [replace(sent, milliseconds=5000) if index < 20 else sent for index, sent in enumerate(normal)]
    assert gates.recovery(slow_for, OVERLOAD).passed and gates.recovery(slow_for, OVERLOAD).figure == "9.5 s"
    never = [replace(sent, outcome="failed") for sent in normal]
    assert gates.recovery(never, OVERLOAD).passed is False
    assert gates.recovery([], OVERLOAD).passed is None


@pytest.mark.parametrize("process", ["java", "worker"])
def test_growing_memory(orderly, process):
    growing = [400 * (1 + 0.05 * index / 100) for index in range(100)]
    memory = {"java": [400.0] * 100, "worker": [400.0] * 100} | {process: growing}
    assert missed("soak", STEADY, orderly, samples(**memory)) == [f"memory growth, {process}"]
    assert missed("steady", STEADY, orderly, samples(**memory)) == []


def test_growth_while_warming_up_is_no_growth():
    warming = [300.0] * 10 + [400.0] * 90
    assert gates.memory_growth(samples(warming, warming), "java").passed
    assert gates.memory_growth(samples([400.0] * 5, [400.0] * 5), "java").passed is None


def test_a_worker_that_was_replaced_is_seen(orderly):
    later = [replace(sample, second=sample.second + 500) for sample in samples([400.0] * 10, [350.0] * 10, pid=3)]
    assert "workers that ended" in missed("steady", STEADY, orderly, FLAT + later)
