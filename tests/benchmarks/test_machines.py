"""Two machines behind one gate, with a stand-in for TorchServe: shared load, and one killed under it."""

import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from benchmarks import machines
from benchmarks.machines import NAMES, Asked, Front, Load, Machine, run, summary
from measuring.processes import stop
from server.gate import GateError, add_token, nginx
from server.instance import free_ports
from tests.server.test_gate import open_for_workers

SERVER = """
import sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(0.02)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
    def log_message(self, *_): pass

ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class StandIn:
    """What answers in TorchServe's place, in a process of its own."""

    def __init__(self, build) -> None:
        pass

    def start(self, folder: Path, setup) -> None:
        (port,) = free_ports(1)
        self._process = subprocess.Popen([sys.executable, "-c", SERVER, str(port)], stderr=subprocess.DEVNULL)
        addresses = SimpleNamespace(inference=f"http://127.0.0.1:{port}", grpc_inference=f"127.0.0.1:{port}")
        self.instance = SimpleNamespace(folder=folder, addresses=addresses, token=lambda kind: "token")
        time.sleep(0.5)

    def roots(self) -> list[psutil.Process]:
        return [psutil.Process(self._process.pid)]

    def stop(self) -> None:
        if self._process.poll() is None:
            stop(psutil.Process(self._process.pid))
        self._process.wait()


@pytest.fixture
def place(folder, monkeypatch) -> Path:
    try:
        nginx()
    except GateError as error:
        pytest.skip(str(error))
    monkeypatch.setattr(machines, "TorchServeServer", StandIn)
    monkeypatch.setattr(machines, "prepare", lambda release, serving: None)
    return open_for_workers(folder)


def test_one_of_two_is_killed_and_no_request_fails(place):
    arguments = Namespace(release=Path("release"), seconds=3.0, concurrency=8)
    parts, shares, faults = run(place, arguments, [b"picture" * 1000])
    assert faults == {}
    assert all(part["requests"] > 30 and part["failed"] == 0 for part in parts.values())
    assert set(shares) == set(NAMES) and all(0.3 < share < 0.7 for share in shares.values())


def test_a_killed_machine_without_another_is_seen_to_fail(place):
    add_token(place / "behind", "front")
    token = add_token(place / "callers", "caller")
    only = Machine(place / "only", None, place / "behind")
    front = Front(place / "front", [only], place / "callers", place / "behind")
    try:
        load = Load(front.port, token, [b"picture"], 2)
        time.sleep(0.5)
        only.kill()
        time.sleep(0.5)
        asked = load.stop()
    finally:
        front.stop()
        only.stop()
    assert not asked[0].fault and "RequestFailed" in asked[-1].fault


def test_a_part_has_its_own_requests_alone():
    asked = [Asked(0.0, 1.0, ""), Asked(1.0, 0.5, "broke"), Asked(1.0, 0.25, ""), Asked(1.0, 5.0, "")]
    found = summary(asked, 0.5, 2.5)
    assert (found["requests"], found["failed"], found["requests_per_second"]) == (3, 1, 1.0)
    assert (found["p50_ms"], found["slowest_ms"]) == (250.0, 1000.0)
