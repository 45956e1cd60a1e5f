"""The users of the load test work against the real server, in one process and in several."""

import csv
import os
import subprocess
import sys

from archive_scripts.build import ENDPOINTS, ROOT
from loadtests.capacity import measure
from loadtests.requests_sent import read
from server.instance import free_ports


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "locust", "-f", str(ROOT / "loadtests" / "locustfile.py"), *arguments]


def environment(**changes: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("LOCUST_", "IMAGETRUST_"))} | {
        "PYTHONPATH": str(ROOT),
        **changes,
    }


def sending(server, folder) -> list[str]:
    """Ten users for some seconds."""
    return [
        "--headless", "--host", server.addresses.inference, "--grpc-host", server.addresses.grpc_inference,
        "--users", "10", "--spawn-rate", "10", "--run-time", "6s", "--stop-timeout", "20",
        "--csv", str(folder / "load"), "--only-summary",
    ]  # fmt: skip


def run_locust(server, folder, token: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(*sending(server, folder)), cwd=folder, env=environment(IMAGETRUST_TOKEN=token),
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def counts(folder) -> dict[tuple[str, str], tuple[int, int]]:
    """Requests and failures by type and name."""
    with (folder / "load_stats.csv").open() as file:
        return {
            (row["Type"], row["Name"]): (int(row["Request Count"]), int(row["Failure Count"]))
            for row in csv.DictReader(file)
        }


def test_users_are_served_over_rest_and_grpc(server, tmp_path):
    done = run_locust(server, tmp_path, server.token("inference"))
    assert done.returncode == 0, done.stdout + done.stderr
    counted = counts(tmp_path)
    assert counted["", "Aggregated"][0] >= 10 and counted["", "Aggregated"][1] == 0
    assert {kind for kind, _ in counted} == {"POST", "gRPC", ""}


def test_failures_are_counted(server, tmp_path):
    """With a wrong token nothing is served, broken pictures' 400 included, and the exit status says so."""
    assert run_locust(server, tmp_path, "wrong").returncode == 1
    requests, failures = counts(tmp_path)["", "Aggregated"]
    assert requests == failures > 0


def test_workers_get_token_and_addresses_from_the_master(server, tmp_path):
    port = str(free_ports(1)[0])
    worker = subprocess.Popen(
        command("--worker", "--master-host", "127.0.0.1", "--master-port", port), cwd=tmp_path, env=environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        master = subprocess.run(
            command(
                "--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port, "--expect-workers", "1",
                "--token", server.token("inference"), *sending(server, tmp_path),
            ),
            cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert master.returncode == 0, master.stdout + master.stderr
        worker.wait(timeout=20)
    finally:
        worker.kill()
        worker.wait()
    requests, failures = counts(tmp_path)["", "Aggregated"]
    assert requests >= 5 and failures == 0


def test_capacity_is_measured(server, tmp_path):
    rate = measure(server, tmp_path, warm_up=2, seconds=4)
    assert 0 < rate < 10_000
    sent = read(tmp_path / "capacity_requests.csv")
    assert {request.endpoint for request in sent} == set(ENDPOINTS)
    assert {request.transport for request in sent} == {"REST", "gRPC"}
    assert all(request.milliseconds > 0 and -1 < request.second < 60 for request in sent)
