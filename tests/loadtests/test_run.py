"""The command that runs and judges a scenario."""

import json
import sys
from contextlib import contextmanager

import pytest

from loadtests import gated, run
from loadtests.gates import TYPICAL_KIND, Gate
from loadtests.recorder import Request
from loadtests.scenarios import stages_of
from server.instance import ServerError
from tests.releases import RELEASE
from tests.server.test_gate import needs_nginx


@pytest.mark.parametrize("through_the_gate", [False, pytest.param(True, marks=needs_nginx)])
def test_a_short_run_against_the_real_server(server, archives, tmp_path, monkeypatch, through_the_gate):
    """Whether its gates pass depends on what else the machine does; that all are judged and written does not."""

    @contextmanager
    def shared_server(logs, workers, release):
        yield server

    @contextmanager
    def own_gated_server(logs, workers, release):
        with gated.gated_server([f"authenticity-{RELEASE.name}.mar"], archives, {"authenticity": 1}) as running:
            yield running

    monkeypatch.setattr(run, "own_server", shared_server)
    monkeypatch.setattr(run, "own_gated_server", own_gated_server)
    monkeypatch.setattr(run.mix, "make_images", lambda: None)
    monkeypatch.setattr(run, "SLACK", 6)
    gates = {gate.name: gate for gate in run.run("constant", 0.1, 10, {}, tmp_path, None, through_the_gate)}
    assert gates["unexpected failures"].passed, gates["unexpected failures"].value
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [gate["name"] for gate in summary["gates"]] == list(gates)
    assert summary["gate"] is through_the_gate and summary["throughput"] == 10 and not summary["throughput_measured"]
    assert 0 < summary["processor_seconds"]["server"] < summary["processor_seconds"]["machine"]
    assert summary["latencies"][0]["served"] == pytest.approx(42, abs=4)
    assert "<html" in (tmp_path / "constant.html").read_text()
    memory = (tmp_path / "memory.csv").read_text()
    assert ",java," in memory and ",worker," in memory


def test_the_throughput_counts_right_answers_after_the_warm_up(tmp_path, monkeypatch):
    requests = [Request(index / 10, "REST", "authenticity", "broken", 50, "expected_4xx") for index in range(120)]
    monkeypatch.setattr(run, "run_locust", lambda *_: requests)
    assert run.measure_throughput(None, tmp_path, [], warm_up=2, counted=5) == 10
    requests.append(Request(3, "REST", "authenticity", "broken", 50, "rejected", "full"))
    with pytest.raises(run.LocustError, match="1 requests failed"):
        run.measure_throughput(None, tmp_path, [], warm_up=2, counted=5)


def test_rows_by_stage_and_by_endpoint():
    requests = [Request(index, "REST", "authenticity", TYPICAL_KIND, 500, "served") for index in range(10)]
    requests += [
        Request(15, "gRPC", "explanation", "broken", 10, "rejected"),
        Request(9.8, "REST", "authenticity", "64x48 PNG", 900, "served"),
    ]
    before, after = run.stage_rows(stages_of((10, 0.5), (10, 1.5)), 2, requests)
    assert before == {"second": 0, "load": "50%", "planned/s": 1.0, "sent/s": 1.1, "answered/s": 1.0, "rejected": "0%"}
    assert (after["sent/s"], after["answered/s"], after["rejected"]) == (0.1, 0.1, "100%")
    of_all, typical = run.latency_rows(requests)
    assert (of_all["served"], of_all["p99"], of_all["p99 / p50"]) == (11, 900, 1.8)
    assert (typical["images"], typical["served"], typical["p99"]) == (TYPICAL_KIND, 10, 500)


@pytest.mark.parametrize(
    ("passed", "status"), [(True, None), (None, None), (False, "Missed: unexpected failures")], ids=str
)
def test_the_exit_status_names_what_was_missed(monkeypatch, tmp_path, passed, status):
    monkeypatch.setattr(run, "run", lambda *_: [Gate("unexpected failures", "1 of 9", "0", passed)])
    monkeypatch.setattr(run, "exit_on_signals", lambda **_: None)
    monkeypatch.setattr(sys, "argv", ["run", "steady", "--out", str(tmp_path)])
    if status is None:
        run.main()
    else:
        with pytest.raises(SystemExit) as ended:
            run.main()
        assert ended.value.code == status


def test_workers_are_numbers_of_known_endpoints(monkeypatch, tmp_path, capsys):
    seen = []
    monkeypatch.setattr(run, "run", lambda *arguments: seen.append(arguments) or [])
    monkeypatch.setattr(run, "exit_on_signals", lambda **_: None)
    monkeypatch.setattr(sys, "argv", ["run", "steady", "--workers", "authenticity=2", "--out", str(tmp_path)])
    run.main()
    assert seen[0][3] == {"authenticity": 2}
    monkeypatch.setattr(sys, "argv", ["run", "steady", "--workers", "nonsense=2"])
    with pytest.raises(SystemExit, match="2"):
        run.main()
    assert "nonsense" in capsys.readouterr().err


def test_archives_that_cannot_be_built_are_said(tmp_path, monkeypatch):
    monkeypatch.setattr(gated, "ROOT", tmp_path)
    with pytest.raises(ServerError, match="the archives cannot be built"), run.own_server(tmp_path, {}):
        pass
