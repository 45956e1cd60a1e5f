"""Kinds of releases, targets and the results page."""

import json
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from benchmarks import compare, systems
from benchmarks.compare import KINDS, RESULTS, SIZES, Target, as_markdown, cost_ratio, kind_of
from imagetrust.models.config import ModelConfig
from server.gate_config import GateError
from tests.releases import MODEL_STORE


@pytest.fixture
def result() -> dict:
    return json.loads((RESULTS / "compare.json").read_text())


def test_the_results_page_shows_the_metrics(result):
    assert (RESULTS / "compare.md").read_text() == as_markdown(result)


def test_every_target_was_measured(result):
    for release in result["releases"].values():
        targets = KINDS[release["conditions"]["kind"]].targets
        assert all(cost_ratio(target, release["sizes"]) for target in targets)


def test_every_release_has_targets_of_its_own():
    (accurate, fast) = (compare.as_markdown({"conditions": {}, "releases": {kind: made_up(kind)}}) for kind in
                        ("accurate", "fast"))  # fmt: skip
    assert ">= 0.97" in accurate and ">= 3.00" in accurate and ">= 4.00" not in accurate
    assert ">= 0.90" in fast and ">= 5.00" in fast and "<= 0.53" in fast


def made_up(kind: str) -> dict:
    """Metrics in which every system costs the same."""
    row = {"cpu_ms": [1.0], "requests_per_second": [1.0], "p50_ms": 50.0, "p95_ms": 95.0, "p99_ms": 99.0}
    names = {name for target in KINDS[kind].targets for name in (*target.above, target.below)}
    sizes = {size: dict.fromkeys(sorted(names), row) for size in SIZES}
    return {"conditions": {"kind": kind}, "sizes": sizes, "servers": {}, "agreement": {}}


@pytest.mark.parametrize(
    ("version", "kind"), [("1.1", "accurate"), ("1.0", "accurate"), ("1.0-fast", "fast"), ("0.3", "fast")]
)
def test_a_release_is_of_the_kind_that_its_version_or_its_views_say(version, kind):
    assert kind_of(ModelConfig.read(MODEL_STORE / version)) == kind


def test_a_kind_says_how_many_requests_of_every_size():
    assert all(kind.requests.keys() == SIZES.keys() for kind in KINDS.values())


@pytest.mark.parametrize(("at_most", "reached"), [(False, [False, True, True]), (True, [True, True, False])])
def test_a_target_is_a_floor_or_a_ceiling(at_most, reached):
    target = Target("theirs / ours", "small", ("theirs",), "ours", 2.0, at_most)
    assert [target.is_reached(found) for found in (1.9, 2.0, 2.1)] == reached


def test_the_cheapest_of_several_baselines_counts():
    target = Target("theirs / ours", "small", ("one", "two"), "ours", 1.0)
    costs = {"ours": [10.0, 10.0], "one": [30.0, 50.0], "two": [20.0, 20.0]}
    sizes = {"small": {name: {"cpu_ms": values} for name, values in costs.items()}}
    assert cost_ratio(target, sizes).median == 2.0


def test_a_target_that_was_not_measured_is_left_out():
    target = KINDS["fast"].targets[0]
    assert cost_ratio(target, {}) is None
    assert cost_ratio(target, {target.size: {target.below: {"cpu_ms": [1.0]}}}) is None


def test_the_row_of_the_gate_is_left_out_and_said_where_nginx_is_missing(monkeypatch, capsys):
    def missing() -> str:
        raise GateError("nginx is not installed")

    monkeypatch.setattr(compare, "nginx", missing)
    rows = [row.name for row in systems.one_question(compare._gate_can_start())]
    assert systems.GATED not in rows and systems.REST in rows
    assert systems.GATED in capsys.readouterr().out
    monkeypatch.setattr(compare, "nginx", lambda: "nginx")
    assert systems.GATED in [row.name for row in systems.one_question(compare._gate_can_start())]


@pytest.mark.parametrize(
    ("words", "releases"),
    [
        ([], list(compare.RELEASES)),
        (["--quick"], [MODEL_STORE / "1.0-fast"]),
        (["--quick", "--release", "model_store/0.3"], [Path("model_store/0.3")]),
    ],
)
def test_a_run_is_written_and_quick_may_be_refined(words, releases, result, tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(compare, "run", lambda folder, arguments: asked.append(arguments) or result)
    monkeypatch.setattr(compare, "exit_on_signals", lambda: None)
    monkeypatch.setattr(sys, "argv", ["compare", *words, "--blocks", "3", "--out", str(tmp_path / "out")])
    compare.main()
    expected = (3, 1, [compare.TYPICAL]) if "--quick" in words else (3, 2, list(SIZES))
    assert (asked[0].blocks, asked[0].workers, asked[0].sizes) == expected and asked[0].release == releases
    page = (tmp_path / "out" / "compare.md").read_text()
    assert page in capsys.readouterr().out and json.loads((tmp_path / "out" / "compare.json").read_text()) == result


def test_every_release_is_measured_with_the_same_images(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(compare, "_measure", lambda folder, release, images, _: seen.append((release, images)) or {})
    monkeypatch.setattr(compare, "machine", lambda packages: {})
    arguments = {"release": [Path("a/1.1"), Path("a/1.0-fast")], "sizes": ["640x480"], "workers": 1, "blocks": 1}
    arguments |= {"batch_size": 2, "batch_delay": 1, "concurrency": 2}
    found = compare.run(tmp_path, Namespace(**arguments))
    assert list(found["releases"]) == ["1.1", "1.0-fast"] and seen[0][1] is seen[1][1]
    assert len(seen[0][1]["640x480"]) == len(compare.PHOTOGRAPHS)
    assert 0.01 < float(found["conditions"]["megabytes_of_an_image"]["640x480"]) < 0.3
