"""The comparison end to end: every server starts, answers as ours does, is measured and is gone afterwards."""

import json
import os
import subprocess
import sys
import uuid

import psutil
import pytest

from benchmarks.contenders import single_question
from benchmarks.peers import lit, ours, plain_fastapi, stock
from benchmarks.reaches import REACHES
from tests.conftest import ROOT

EAGER = (stock.NAME, plain_fastapi.NAME, lit.EAGER)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The folder with the results of one quick run, and the mark that all its processes carried."""
    folder, mark = tmp_path_factory.mktemp("compared"), uuid.uuid4().hex
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.compare", "--quick", "--out", str(folder)],
        cwd=ROOT, env=os.environ | {"BENCHMARK_MARK": mark}, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, mark


@pytest.fixture
def result(compared) -> dict:
    return json.loads((compared[0] / "compare.json").read_text())


@pytest.mark.parametrize("name", [contender.name for contender in single_question()])
def test_everybody_says_the_same_of_a_picture(result, name):
    agreement = result["agreement"][name]
    if name in EAGER:
        assert agreement["same_labels"] >= 0.75, "of the photographs a few lie between the classes"
    else:
        assert agreement["same_labels"] == 1
    # A peer resizes before it crops and ours crops before it resizes, which moves a picture by part of a pixel.
    assert agreement["largest_difference"] < (0.1 if name in EAGER else 0.01)


def test_every_row_has_a_cost_in_every_block(result):
    (rows,) = result["sizes"].values()
    assert set(rows) == {contender.name for contender in single_question() + ours.both_questions()}
    for name, row in rows.items():
        assert len(row["cpu_ms"]) == result["conditions"]["blocks"], name
        assert min(row["cpu_ms"]) > 0, name


def test_the_reaches_that_this_size_allows_are_reported(result, compared):
    assert set(result["reaches"]) == {reach.name for reach in REACHES if reach.size in result["sizes"]}
    text = (compared[0] / "compare.md").read_text()
    assert all(f"| {name} |" in text for name in result["reaches"])
    assert (compared[0] / "compare.svg").read_text().rstrip().endswith("</svg>")


def test_stages_add_up_to_the_servers_cost(result):
    for by_stage in result["stages"].values():
        parts = sum(value for name, value in by_stage.items() if name not in ("latency", "queue", "total"))
        assert parts == pytest.approx(by_stage["total"])
        assert 0 < by_stage["queue"] < by_stage["latency"]


def test_memory_is_counted_for_every_server(result):
    assert all(row["memory_mb"] > 100 for row in result["servers"].values())


def test_nothing_is_left_running(compared):
    left = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("BENCHMARK_MARK") == compared[1]:
                left.append(process.cmdline())
        except psutil.Error:
            continue
    assert not left
