"""The command that runs and judges a scenario."""

import json
import os
import subprocess
import sys
from itertools import pairwise

import psutil
import pytest

from archive_scripts.build import ROOT
from loadtests import run
from loadtests.gates import Gate
from loadtests.own_server import own_server
from loadtests.requests_sent import read
from server.instance import ServerError


@pytest.mark.parametrize("scenario", ["steady", "even"])
def test_a_short_run_from_end_to_end(folder, scenario):
    """Its verdict depends on what else the machine does; that it is the one it prints, and its files, do not."""
    out = folder / "out"
    done = subprocess.run(
        [sys.executable, "-m", "loadtests.run", scenario, "--minutes", "0.15", "--capacity", "10", "--out", str(out)],
        cwd=ROOT, env=os.environ | {"TMPDIR": str(folder)}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stdout + done.stderr
    summary = json.loads((out / "summary.json").read_text())
    missed = [gate["name"] for gate in summary["gates"] if gate["passed"] is False]
    assert done.returncode == (1 if missed else 0) and all(name in done.stderr for name in missed)
    failures = next(gate for gate in summary["gates"] if gate["name"] == "unexpected failures")
    assert failures["passed"], done.stdout
    assert summary["conditions"]["cores"] >= 1 and summary["capacity"] == 10 and not summary["capacity_measured"]
    assert "<html" in (out / f"{scenario}.html").read_text()
    for name in ("stats.csv", "failures.csv", "requests.csv"):
        assert (out / f"{scenario}_{name}").exists(), name
    assert (out / "server_logs" / "ts_log.log").exists()
    if scenario == "even":
        sent = sorted(request.second for request in read(out / "even_requests.csv"))
        gaps = [later - earlier for earlier, later in pairwise(sent)]
        assert len(sent) > 30 and sum(abs(gap - 1 / 7) < 0.03 for gap in gaps) > 0.8 * len(gaps)
    memory = (out / "memory.csv").read_text()
    assert ",java," in memory and ",worker," in memory
    assert list(folder.iterdir()) == [out]
    assert not [process for process in psutil.process_iter(["cmdline"]) if str(folder) in str(process.info["cmdline"])]


@pytest.mark.parametrize(
    ("passed", "status"), [(True, None), (None, None), (False, "Missed: unexpected failures")], ids=str
)
def test_the_exit_status_names_what_was_missed(monkeypatch, tmp_path, passed, status):
    monkeypatch.setattr(run, "run", lambda *_: [Gate("unexpected failures", "1 of 9", "0", passed)])
    monkeypatch.setattr(run.signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["run", "steady", "--out", str(tmp_path)])
    if status is None:
        run.main()
    else:
        with pytest.raises(SystemExit) as ended:
            run.main()
        assert ended.value.code == status


def test_a_server_that_cannot_be_built_is_said(tmp_path):
    with pytest.raises(ServerError, match="nonsense"), own_server(tmp_path, ["nonsense=2"]):
        pass
