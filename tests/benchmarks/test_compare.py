"""Targets and the results page."""

import json
import sys

import pytest

from benchmarks import compare
from benchmarks.compare import RESULTS, TARGETS, Target, as_markdown, cost_ratio


@pytest.fixture
def result() -> dict:
    return json.loads((RESULTS / "compare.json").read_text())


def test_the_results_page_shows_the_metrics(result):
    assert (RESULTS / "compare.md").read_text() == as_markdown(result)


def test_every_target_was_measured(result):
    assert all(cost_ratio(target, result["sizes"]) for target in TARGETS)


def test_the_cheapest_of_several_baselines_counts():
    target = Target("theirs / ours", "small", "ours", ("one", "two"), 1.0)
    costs = {"ours": [10.0, 10.0], "one": [30.0, 50.0], "two": [20.0, 20.0]}
    sizes = {"small": {name: {"cpu_ms": values} for name, values in costs.items()}}
    assert cost_ratio(target, sizes).median == 2.0


def test_a_target_that_was_not_measured_is_left_out():
    target = TARGETS[0]
    assert cost_ratio(target, {}) is None
    assert cost_ratio(target, {target.size: {target.system: {"cpu_ms": [1.0]}}}) is None


def test_a_run_is_written_and_quick_may_be_refined(result, tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(compare, "run", lambda folder, arguments: asked.append(arguments) or result)
    monkeypatch.setattr(compare, "exit_on_signals", lambda: None)
    monkeypatch.setattr(sys, "argv", ["compare", "--quick", "--blocks", "3", "--out", str(tmp_path / "out")])
    compare.main()
    assert (asked[0].blocks, asked[0].workers, asked[0].sizes) == (3, 1, [compare.TYPICAL])
    page = (tmp_path / "out" / "compare.md").read_text()
    assert page in capsys.readouterr().out and json.loads((tmp_path / "out" / "compare.json").read_text()) == result
