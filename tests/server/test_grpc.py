"""The same answers over gRPC."""

import contextlib
import functools
import itertools
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
import requests

from archive_scripts.build import ENDPOINTS
from clients.grpc import GrpcClient
from clients.rest import ask
from tests.procedural import encoded
from tests.server.test_rest import is_valid


@pytest.fixture(scope="module")
def client(server):
    with GrpcClient(server.addresses.grpc_inference, server.token("inference")) as opened:
        yield opened


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_same_answer_as_rest(server, client, photo, endpoint):
    data = encoded(photo, "PNG")
    over_grpc = client.ask(endpoint, data)
    _, over_rest = ask(server.addresses.inference, endpoint, data, server.token("inference"))
    assert is_valid(over_grpc, endpoint)
    assert set(over_grpc) == set(over_rest)
    inner = (answer.get("inferred", {}).get("authenticity", answer) for answer in (over_grpc, over_rest))
    one, other = inner
    assert one["logits"] == pytest.approx(other["logits"], abs=1e-4)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_bad_picture_is_an_error_body(client, endpoint):
    answer = client.ask(endpoint, b"hello")
    assert is_valid(answer, "error") and answer["error"]["code"] == "unknown_format"


def test_large_pictures_pass(client, photo):
    data = encoded(photo.resize((2400, 1800)), "BMP")  # 13 MB, beyond gRPC's own default
    assert "verdict" in client.ask("authenticity", data)


def test_without_a_token(server, photo):
    with GrpcClient(server.addresses.grpc_inference, "wrong") as stranger, pytest.raises(grpc.RpcError):
        stranger.ask("authenticity", encoded(photo, "PNG"))


def workers_of(server) -> set[tuple[str, int]]:
    """The id and process of each ready worker, as TorchServe's management API describes them."""
    headers = server.headers("management")
    described = [
        requests.get(f"{server.addresses.management}/models/{endpoint}", headers=headers, timeout=9)
        for endpoint in ENDPOINTS
    ]
    workers = [worker for answer in described for worker in answer.json()[0]["workers"]]
    return {(worker["id"], worker["pid"]) for worker in workers if worker["status"] == "READY"}


@pytest.fixture
def busy_neighbours(server, photo):
    """REST requests to all endpoints while a test runs; none may fail."""
    data, done, statuses = encoded(photo, "JPEG"), threading.Event(), []

    def ask_all() -> None:
        while not done.is_set():
            for endpoint in ENDPOINTS:
                statuses.append(ask(server.addresses.inference, endpoint, data, server.token("inference"))[0])

    before = workers_of(server)
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(ask_all)
        yield
        done.set()
    asking.result()
    assert len(statuses) >= len(ENDPOINTS) and set(statuses) == {200}
    assert workers_of(server) == before


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_stream_is_one_answer(busy_neighbours, client, photo, endpoint):
    for number in range(10):
        request = client.request(endpoint, encoded(photo, "PNG") if number % 5 else b"hello")
        (answer,) = client.service.StreamPredictions(request, metadata=client.metadata, timeout=30)
        assert is_valid(json.loads(answer.prediction), endpoint if number % 5 else "error")


@pytest.mark.parametrize("client_ends", [True, False])
@pytest.mark.parametrize("version", ["", "0.3"])
def test_streams_in_both_directions_are_not_answered(busy_neighbours, client, photo, version, client_ends):
    """No worker is harmed, whether TorchServe has closed the stream by the time of the answer or the client goes."""
    request = client.request("authenticity", encoded(photo, "PNG"))
    request.model_version, request.sequence_id = version, "1"
    for _ in range(10 if client_ends else 2):
        gone = threading.Event()
        sent = itertools.chain([request], [] if client_ends else iter(functools.partial(gone.wait, 10), True))
        with contextlib.suppress(grpc.RpcError):
            assert list(client.service.StreamPredictions2(sent, metadata=client.metadata, timeout=2)) == []
        gone.set()


def test_clients_that_leave_harm_no_worker(busy_neighbours, server, client, photo):
    """TorchServe itself would close their calls, and a worker that answers in that moment would fail."""
    request = client.request("authenticity", encoded(photo, "PNG"))
    left = 0
    for timeout in (0.002, 0.005, 0.01, 0.015, 0.02) * 4:
        try:
            client.service.Predictions(request, metadata=client.metadata, timeout=timeout)
        except grpc.RpcError as error:
            left += error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    client.ask("authenticity", encoded(photo, "PNG"))  # behind theirs
    closed = [line for line in (server.logs / "access_log.log").read_text().splitlines() if "/Predictions " in line]
    assert left and not [line for line in closed if 'HTTP/2.0\\" 1 ' in line]  # 1 is CANCELLED
