"""The users of the load test work against the real server."""

import csv
import os
import subprocess
import sys

from archive_scripts.build import ROOT


def run_locust(server, folder, token: str) -> subprocess.CompletedProcess:
    command = [
        sys.executable, "-m", "locust", "-f", str(ROOT / "loadtests" / "locustfile.py"), "--headless",
        "--host", server.addresses.inference, "--users", "4", "--spawn-rate", "4", "--run-time", "8s",
        "--stop-timeout", "20", "--csv", str(folder / "load"), "--only-summary",
    ]  # fmt: skip
    environment = os.environ | {"IMAGETRUST_TOKEN": token, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_users_are_served(server, tmp_path):
    done = run_locust(server, tmp_path, server.token("inference"))
    assert done.returncode == 0, done.stdout + done.stderr
    with (tmp_path / "load_stats.csv").open() as file:
        total = [row for row in csv.DictReader(file) if row["Name"] == "Aggregated"][0]
    assert int(total["Request Count"]) >= 5 and int(total["Failure Count"]) == 0


def test_failures_are_counted(server, tmp_path):
    """With a wrong token nothing is served, and the exit status says so."""
    assert run_locust(server, tmp_path, "wrong").returncode == 1
