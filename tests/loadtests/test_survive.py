"""What callers see is counted, and what they must not see is a fault."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from loadtests.survive import SCENARIOS, Callers, Run
from tests.server.test_gate import behind

__all__ = ["behind"]  # a fixture

LATER = {"Retry-After": "1"}


def seen(behind, script: list, **options: bool) -> Run:
    """Let one caller ask until the script is over."""
    behind.script += script
    run = Run(0, Path(), "0")
    with Callers(SimpleNamespace(url=f"http://127.0.0.1:{behind.server_port}", token="t"), 1) as callers:
        deadline = time.monotonic() + 10
        while behind.script or callers.statuses.total() <= len(script):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    callers.report(run, **options)
    return run


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ((503, LATER, b"{}"), None),
        ((503, {}, b"no hint"), "503 no hint"),
        ((500, LATER, b"{}"), "500"),
        ((507, {}, b"{}"), "507"),
        ((429, LATER, b"{}"), "429"),
        (None, "ConnectionError"),
    ],
)
def test_what_callers_must_not_see(behind, answer, fault):
    run = seen(behind, [answer])
    assert run.facts["answers with 200"] >= 1
    assert (fault in run.faults[0]) if fault else not run.faults


def test_where_nobody_may_be_refused(behind):
    assert not seen(behind, [], only_answers=True).faults
    assert seen(behind, [(503, LATER, b"{}")], only_answers=True).faults


def test_every_scenario_says_what_it_does():
    assert all(does.__doc__ for does, _ in SCENARIOS.values())
