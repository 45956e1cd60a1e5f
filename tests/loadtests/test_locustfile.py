"""Locust's users, against small servers that answer as the real one does over REST and gRPC."""

import http.server
import io
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from PIL import Image

from clients import torchserve_inference_pb2 as messages
from clients import torchserve_inference_pb2_grpc as services
from loadtests.recorder import Request, read_requests
from server.settings import ROOT

TOKEN = "a-token-of-some-length-0123"  # noqa: S105
BROKEN = b'{"error":{"code":"broken_picture"}}'
# The mix in small images, with many broken ones.
LOCUSTFILE = """
from pathlib import Path
from loadtests import mix
mix.FOLDER, mix.KINDS, mix.TYPICAL = Path("images"), {(64, 48, "JPEG"): 1, (32, 24, "PNG"): 1}, (64, 48, "JPEG")
mix.BROKEN_SHARE = 0.3
from loadtests import locustfile
locustfile.SPAWNING = 1.0
from loadtests.locustfile import *
"""


def answer_to(image: bytes) -> bytes:
    """What an endpoint says of an image."""
    try:
        with Image.open(io.BytesIO(image)) as opened:
            opened.load()
    except OSError:
        return BROKEN
    return b'{"verdict":"real"}'


class Rest(http.server.BaseHTTPRequestHandler):
    """Takes 0.4 s for an answer: a closed loop would wait for it."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        answer = answer_to(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(0.4)
        allowed = self.headers["Authorization"] == f"Bearer {TOKEN}"
        self.send_response(400 if answer == BROKEN or not allowed else 200)
        self.send_header("Content-Length", str(len(answer) if allowed else 0))
        self.end_headers()
        self.wfile.write(answer if allowed else b"")

    def log_message(self, *_):
        pass


class Listening(http.server.ThreadingHTTPServer):
    request_queue_size = 128


@pytest.fixture(scope="module")
def addresses():
    """Of the REST and of the gRPC server."""

    class Grpc(services.InferenceAPIsServiceServicer):
        def Predictions(self, request, context):
            metadata = dict(context.invocation_metadata())
            if metadata["authorization"] != f"Bearer {TOKEN}":
                context.abort(grpc.StatusCode.PERMISSION_DENIED, "Token Authorization failed.")
            return messages.PredictionResponse(prediction=answer_to(request.input["image"]))

    calls = grpc.server(ThreadPoolExecutor(4))
    services.add_InferenceAPIsServiceServicer_to_server(Grpc(), calls)
    port = calls.add_insecure_port("127.0.0.1:0")
    calls.start()
    with Listening(("127.0.0.1", 0), Rest) as rest:
        threading.Thread(target=rest.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{rest.server_port}", f"127.0.0.1:{port}"
        rest.shutdown()
    calls.stop(None)


def run_locust(addresses, folder, *arguments: str, token: str = TOKEN) -> tuple[int, list[Request]]:
    """Locust's exit status and what it recorded."""
    (folder / "locustfile.py").write_text(LOCUSTFILE)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LOCUST_", "IMAGETRUST_"))}
    done = subprocess.run(
        [sys.executable, "-m", "locust", "-f", "locustfile.py", "--headless", "--host", addresses[0],
         "--grpc-host", addresses[1], "--stop-timeout", "5", "--request-log", "requests.csv", "--only-summary",
         *arguments],
        cwd=folder, env=environment | {"PYTHONPATH": str(ROOT), "IMAGETRUST_TOKEN": token},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    requests = read_requests(folder / "requests.csv")
    assert requests, done.stderr
    return done.returncode, requests


def test_a_closed_loop_asks_all_endpoints_over_rest_and_grpc(addresses, tmp_path):
    status, requests = run_locust(addresses, tmp_path, "--users", "20", "--spawn-rate", "20", "--run-time", "2s")
    assert status == 0
    assert {request.outcome for request in requests} == {"served", "expected_4xx"}
    assert {request.transport for request in requests} == {"REST", "gRPC"}
    assert {request.endpoint for request in requests} == {"authenticity", "generator_type", "explanation"}
    assert min(request.milliseconds for request in requests if request.transport == "REST") >= 400


def test_an_open_loop_keeps_a_constant_rate_however_slow_the_server(addresses, tmp_path):
    status, requests = run_locust(
        addresses, tmp_path, "--users", "60", "--spawn-rate", "60", "--run-time", "8s",
        "--arrivals", "constant", "--stages", "2:20,2:40", "--typical", "UploadFeed",
    )  # fmt: skip
    assert status == 0
    assert {(request.endpoint, request.image) for request in requests} == {("authenticity", "64x48 JPEG")}
    due = [index / 20 for index in range(1, 40)] + [2 + index / 40 for index in range(1, 80)]
    sent = sorted(request.second for request in requests)
    assert len(sent) == pytest.approx(len(due), abs=3)
    on_time = [-0.01 <= was - planned < 0.25 for was, planned in zip(sent, due, strict=False)]
    assert sum(on_time) > 0.8 * len(due), "a shared machine may delay some"


def test_an_open_loop_drops_what_finds_no_free_user_and_a_wrong_token_fails_every_request(addresses, tmp_path):
    """Two users that wait 0.4 s for each answer send five requests a second, and no backlog later."""
    status, requests = run_locust(
        addresses, tmp_path, "--users", "2", "--spawn-rate", "2", "--run-time", "5s",
        "--arrivals", "poisson", "--stages", "2:40", "UploadFeed", token="wrong",
    )  # fmt: skip
    assert status == 1 and {request.outcome for request in requests} == {"failed"}
    assert 5 <= len(requests) <= 17 and max(request.second for request in requests) < 3.2


def test_a_sender_that_the_callers_name_takes_its_own_token(addresses, tmp_path):
    (tmp_path / "callers").write_text(f"UploadFeed {TOKEN}\n")
    (tmp_path / "callers").chmod(0o600)
    _, requests = run_locust(
        addresses, tmp_path, "--users", "4", "--spawn-rate", "4", "--run-time", "3s", "--callers", "callers",
        "UploadFeed", "Analyst", token="wrong",
    )  # fmt: skip
    outcomes = {one.endpoint == "explanation": one.outcome != "failed" for one in requests}
    assert outcomes == {True: False, False: True}
