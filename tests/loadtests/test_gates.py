"""Each gate passes what is in order and trips on what it is there for."""

from dataclasses import replace

import pytest

from loadtests import gates
from loadtests.memory import Sample
from loadtests.mix import BROKEN, ENDPOINTS
from loadtests.recorder import Request
from loadtests.scenarios import SCENARIOS, overload

RATE = 10
STEADY = SCENARIOS["steady"][0](2)
SPIKE = SCENARIOS["spike"][0](1)
OVERLOAD = overload(SPIKE)


def request(second: float, **changes) -> Request:
    return replace(Request(second, "REST", "authenticity", gates.TYPICAL_KIND, 50.0, "served"), **changes)


@pytest.fixture
def orderly() -> list[Request]:
    """Two minutes at the planned rate, all endpoints, some broken images."""
    count = round(120 * 0.7 * RATE)
    broken = {"image": BROKEN, "outcome": "expected_4xx"}
    return [
        request(index * 120 / count, endpoint=ENDPOINTS[index % 3], milliseconds=50 + index % 20,
                **(broken if index % 50 == 7 else {}))
        for index in range(count)
    ]  # fmt: skip


def samples(java: list[float], worker: list[float], pid: int = 2) -> list[Sample]:
    """Samples every five seconds, in MiB."""
    return [
        Sample(5.0 * index, process, number, int(held * 2**20))
        for index, both in enumerate(zip(java, worker, strict=True))
        for process, number, held in zip(("java", "worker"), (1, pid), both, strict=True)
    ]


FLAT = samples([400.0] * 100, [350.0] * 100)


def missed(scenario: str, stages, requests, memory) -> list[str]:
    return [gate.name for gate in gates.judge(scenario, stages, RATE, requests, memory) if gate.passed is False]


def test_an_orderly_run_misses_nothing_and_leaves_nothing_unjudged(orderly):
    assert all(gate.passed for gate in gates.judge("soak", STEADY, RATE, orderly, FLAT))


@pytest.mark.parametrize("outcome", ["failed", "rejected"])
def test_one_failure_is_too_many(orderly, outcome):
    orderly[100] = replace(orderly[100], outcome=outcome, fault="status 503")
    assert missed("steady", STEADY, orderly, FLAT) == ["unexpected failures"]


def test_a_run_without_requests_shows_nothing():
    assert "unexpected failures" in missed("steady", STEADY, [], FLAT)


@pytest.mark.parametrize(
    ("second", "passed"),
    [(30, False), (OVERLOAD[0] + 5, True), (OVERLOAD[1] + 5, True), (OVERLOAD[1] + gates.RECOVERY + 5, False)],
)
def test_rejections_are_expected_under_overload_alone(second, passed):
    assert gates.unexpected_failures([request(0), request(second, outcome="rejected")], OVERLOAD).passed is passed
    assert not gates.unexpected_failures([request(second, outcome="failed")], OVERLOAD).passed


def test_a_load_generator_that_falls_behind_is_seen(orderly):
    assert missed("steady", STEADY, orderly[: len(orderly) * 3 // 4], FLAT) == ["requests sent under ordinary load"]


def test_p99_over_its_budget(orderly):
    slow = [replace(sent, milliseconds=20 * sent.milliseconds) for sent in orderly]
    assert missed("steady", STEADY, slow, FLAT) == ["p99 of authenticity", "p99 of generator_type"]


def test_overload_is_held_to_the_timeout_and_not_to_the_budget():
    during = [request(OVERLOAD[0] + index / 10, milliseconds=9000) for index in range(250)]
    sent = [request(index / 2) for index in range(110)] + during
    passed = {gate.name: gate.passed for gate in gates.judge("spike", SPIKE, RATE, sent, FLAT)}
    assert passed["p99 of authenticity"] and passed["slowest p99 under overload"]
    assert not gates.within_timeout([replace(one, milliseconds=31_000) for one in during], OVERLOAD).passed


def test_spread_is_judged_on_one_kind_of_image_at_a_constant_rate(orderly):
    large = [replace(sent, image="4000x3000 JPEG", milliseconds=400) for sent in orderly[:20]]
    assert missed("constant", STEADY, orderly + large, FLAT) == []
    waited = [replace(sent, milliseconds=400) if index % 40 < 3 else sent for index, sent in enumerate(orderly)]
    assert missed("constant", STEADY, waited, FLAT) == ["p99 / p50 of authenticity, 1024x768 JPEG"]
    assert missed("steady", STEADY, waited, FLAT) == [], "random arrivals of mixed images spread by themselves"
    assert gates.latency_spread(orderly[:30]).passed is None


def test_recovery():
    normal = [request(OVERLOAD[1] + index / 2) for index in range(110)]
    assert gates.recovery(normal, OVERLOAD).value == "0 s"
    slow = [replace(sent, milliseconds=5000) if index < 20 else sent for index, sent in enumerate(normal)]
    assert gates.recovery(slow, OVERLOAD).passed and gates.recovery(slow, OVERLOAD).value == "9.5 s"
    assert gates.recovery([replace(sent, outcome="failed") for sent in normal], OVERLOAD).passed is False
    assert gates.recovery([], OVERLOAD).passed is None


@pytest.mark.parametrize("process", ["java", "worker"])
def test_growing_memory_misses_the_soak_alone(orderly, process):
    growing = [400 * (1 + 0.05 * index / 100) for index in range(100)]
    memory = samples(**{"java": [400.0] * 100, "worker": [400.0] * 100} | {process: growing})
    assert missed("soak", STEADY, orderly, memory) == [f"memory growth, {process}"]
    assert missed("steady", STEADY, orderly, memory) == []


def test_a_worker_that_was_replaced_is_seen(orderly):
    later = [sample._replace(second=sample.second + 500) for sample in samples([400.0] * 10, [350.0] * 10, pid=3)]
    assert missed("steady", STEADY, orderly, FLAT + later) == ["workers that ended"]
