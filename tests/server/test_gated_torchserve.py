"""The real TorchServe behind the gate: the same answers, and what is sent or killed harms nobody."""

import base64
import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import grpc
import pytest
import requests

from archive_scripts.build import ENDPOINTS
from clients.grpc import GrpcClient
from clients.rest import ask
from server.gate import Gate
from server.management import ready_workers
from tests.procedural import encoded
from tests.server.test_gate import OTHER, TOKEN, gate_before, needs_nginx

pytestmark = needs_nginx


@pytest.fixture(scope="module")
def make_gate(server, tmp_path_factory):
    """Start a gate before the server, with changed settings."""
    folder = tmp_path_factory.mktemp("g")
    with contextlib.ExitStack() as stack:

        def made(**changes: object) -> Gate:
            running = gate_before(server, folder, {"alice": TOKEN, "bob": OTHER}, **changes)
            running.start()
            stack.callback(running.stop, 10)
            return running

        yield made


@pytest.fixture(scope="module")
def gate(make_gate) -> Gate:
    return make_gate()


@pytest.fixture(scope="module")
def url(gate) -> str:
    return f"http://{gate.settings.rest}"


def headers(content_type: str = "image/jpeg", token: str = TOKEN) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "Content-Type": content_type}


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_the_same_bytes_as_without(server, url, photo, endpoint):
    data = encoded(photo, "JPEG")
    text = base64.b64encode(data).decode()
    kserve = json.dumps({"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [text]}]})
    boundary = b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + data + b"\r\n--x--\r\n"
    requests_sent = [
        (f"/predictions/{endpoint}", "image/jpeg", data),
        (f"/predictions/{endpoint}/0.3", "application/octet-stream", data),
        (f"/predictions/{endpoint}", "multipart/form-data; boundary=x", boundary),
        (f"/predictions/{endpoint}", "application/json", json.dumps({"image": text})),
        (f"/explanations/{endpoint}", "image/jpeg", data),
        (f"/v1/models/{endpoint}:predict", "application/json", json.dumps({"instances": [{"b64": text}]})),
        (f"/v2/models/{endpoint}/infer", "application/json", kserve),
        (f"/predictions/{endpoint}", "image/jpeg", b"hello"),
        (f"/predictions/{endpoint}", "image/jpeg", data[:300]),
        (f"/predictions/{endpoint}", "application/json", '{"image": '),
        (f"/predictions/{endpoint}", "image/jpeg", b""),
    ]
    for path, content_type, body in requests_sent:
        without = requests.post(
            server.addresses.inference + path, data=body, timeout=60,
            headers=server.headers() | {"Content-Type": content_type},
        )  # fmt: skip
        through = requests.post(url + path, data=body, headers=headers(content_type), timeout=60)
        assert through.status_code == without.status_code, (path, content_type)
        assert through.headers["Content-Type"] == without.headers["Content-Type"]
        assert through.content == without.content, (path, content_type)
        assert "ImageTrust-Error" not in through.headers


def test_options_pass_and_unknown_ones_are_refused(url, photo):
    data = encoded(photo, "JPEG")
    status, answer = ask(url, "explanation", data, TOKEN, options={"detail": "verdicts"})
    assert status == 200 and set(answer["inferred"]) == {"authenticity", "generator_type"}
    status, answer = ask(url, "explanation", data, TOKEN, options={"detial": "verdicts"})
    assert (status, answer["error"]["code"]) == (400, "invalid_option")


def test_the_description_needs_a_token(url):
    description = requests.get(f"{url}/api-description", headers=headers(), timeout=9)
    assert description.status_code == 200 and "/predictions/{model_name}" in description.json()["paths"]
    assert requests.get(f"{url}/api-description", timeout=9).status_code == 401


def test_what_torchserve_lacks_is_an_error_of_our_form(url, photo):
    data = encoded(photo, "PNG")
    for path in ("/predictions/nothing", "/predictions/authenticity/9.9"):
        answer = requests.post(url + path, data=data, headers=headers(), timeout=9)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_model")


def test_pictures_in_a_pipeline_are_answered_in_order(gate, photo):
    """TorchServe alone answers them in another order: picture A gets the verdict on B."""
    large, small = encoded(photo.resize((2000, 1500)), "PNG"), encoded(photo, "PNG")
    host, _, port = gate.settings.rest.rpartition(":")
    head = "POST /predictions/authenticity HTTP/1.1\r\nHost: a\r\nX-Request-Id: n{}\r\nAuthorization: Bearer {}\r\n"
    sent = b"".join(
        (head.format(number, TOKEN) + f"Content-Type: image/png\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body
        for number, body in enumerate((large, small, large))
    )
    received = b""
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(sent)
        while received.count(b"verdict") < 3:
            received += connection.recv(65536)
    places = [received.index(f"X-Request-Id: n{number}\r\n".encode()) for number in range(3)]
    assert all(one < two for one, two in pairwise(places))


@pytest.mark.parametrize("token", ["", TOKEN])
def test_thirty_unfinished_uploads_harm_nobody(gate, url, server, photo, token):
    """Strangers are sent away at once; of a caller as many wait as it may, and others' pictures are all answered."""
    large = encoded(photo.resize((2600, 2500)), "BMP")
    assert 19_000_000 < len(large) < 20_000_000
    host, _, port = gate.settings.rest.rpartition(":")
    head = f"POST /predictions/authenticity HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n"
    java = server.process.pid
    with contextlib.ExitStack() as stack:
        for _ in range(30):
            upload = stack.enter_context(socket.create_connection((host, int(port)), timeout=5))
            upload.sendall(f"{head}Content-Type: image/bmp\r\nContent-Length: {len(large)}\r\n\r\n".encode())
            with contextlib.suppress(ConnectionError):
                upload.sendall(large[:1_000_000])
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda _: ask(url, "authenticity", large, OTHER, timeout=120), range(12)))
    assert [status for status, _ in answers] == [200] * 12, answers
    assert server.process.pid == java


def test_a_killed_worker_costs_no_error(server, url, photo):
    """While workers die, callers see answers, or 503 with Retry-After."""
    data, done, statuses = encoded(photo, "JPEG"), threading.Event(), Counter()

    def ask_until_done(endpoint: str) -> None:
        with requests.Session() as session:
            while not done.is_set():
                answer = session.post(f"{url}/predictions/{endpoint}", data=data, headers=headers(), timeout=120)
                assert answer.status_code == 200 or "Retry-After" in answer.headers, answer.text
                statuses[answer.status_code] += 1

    with ThreadPoolExecutor(5) as pool:
        asking = [pool.submit(ask_until_done, endpoint) for endpoint in ("authenticity", "authenticity", *ENDPOINTS)]
        try:
            for _ in range(3):
                time.sleep(3)
                for endpoint in ENDPOINTS:
                    for worker in server.describe(endpoint)["workers"][:1]:
                        if worker["status"] == "READY":
                            os.kill(worker["pid"], signal.SIGKILL)
        finally:
            time.sleep(8)
            done.set()
        for each in asking:
            each.result()
    assert set(statuses) <= {200, 503} and statuses[200] > 50, statuses
    deadline = time.monotonic() + 60
    while not all(ready_workers(server.describe(endpoint)) for endpoint in ENDPOINTS):
        assert time.monotonic() < deadline
        time.sleep(0.5)


# -------------------------------------------------------------------------------------------- gRPC


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_the_same_answer_over_grpc(server, gate, photo, endpoint):
    data = encoded(photo, "PNG")
    with (
        GrpcClient(gate.settings.grpc, TOKEN) as through,
        GrpcClient(server.addresses.grpc_inference, server.token("inference")) as without,
    ):
        assert through.ask(endpoint, data) == without.ask(endpoint, data)
        assert through.ask(endpoint, b"hello") == without.ask(endpoint, b"hello")
        large = encoded(photo.resize((2400, 1800)), "BMP")
        assert "error" not in through.ask(endpoint, large)


@pytest.mark.parametrize(
    ("code", "call"),
    [
        ("UNIMPLEMENTED", lambda client, data: list(client.service.StreamPredictions(
            client.request("authenticity", data), metadata=client.metadata, timeout=9))),
        ("UNIMPLEMENTED", lambda client, data: list(
            client.service.StreamPredictions2(iter([]), metadata=client.metadata, timeout=9))),
        ("UNIMPLEMENTED", lambda client, data: client.service.Predictions(
            client.request("authenticity", data), metadata=client.metadata, timeout=9,
            compression=grpc.Compression.Gzip)),
        ("RESOURCE_EXHAUSTED", lambda client, data: client.ask("authenticity", bytes(30_000_000))),
        ("UNAUTHENTICATED", lambda client, data: client.service.Predictions(
            client.request("authenticity", data), metadata=(("authorization", "Bearer nobody"),), timeout=9)),
        ("UNAUTHENTICATED", lambda client, data: client.service.Predictions(
            client.request("authenticity", data), timeout=9)),
    ],
)  # fmt: skip
def test_what_grpc_refuses(gate, photo, code, call):
    with GrpcClient(gate.settings.grpc, TOKEN) as client, pytest.raises(grpc.RpcError) as caught:
        call(client, encoded(photo, "PNG"))
    assert caught.value.code().name == code and caught.value.details()


def calls_while_workers_die(server, gate, data: bytes) -> list[tuple[str, dict[str, str]]]:
    """Return the codes and trailing metadata of eight calls at once, under which all workers of a model are killed."""
    with GrpcClient(gate.settings.grpc, TOKEN) as client:
        request = client.request("authenticity", data)
        calls = [client.service.Predictions.future(request, metadata=client.metadata, timeout=90) for _ in range(8)]
        time.sleep(0.1)
        for worker in server.describe("authenticity")["workers"]:
            os.kill(worker["pid"], signal.SIGKILL)
        return [(call.code().name, dict(call.trailing_metadata())) for call in calls]


def test_a_worker_that_dies_makes_grpc_unavailable(server, gate, photo):
    """With the milliseconds after which to send again."""
    data = encoded(photo.resize((2000, 1500)), "PNG")
    died = []
    for _ in range(3):
        outcomes = calls_while_workers_die(server, gate, data)
        assert {code for code, _ in outcomes} <= {"OK", "UNAVAILABLE"}
        died += [metadata for code, metadata in outcomes if code != "OK"]
        if died:
            break
    assert died and all(metadata["grpc-retry-pushback-ms"] == "1000" for metadata in died)


def test_grpc_calls_have_a_name_and_a_line(gate, photo):
    with GrpcClient(gate.settings.grpc, TOKEN) as client:
        request = client.request("authenticity", encoded(photo, "PNG"))
        _, call = client.service.Predictions.with_call(
            request, metadata=(*client.metadata, ("x-request-id", "grpc-1")), timeout=60
        )
    assert dict(call.initial_metadata())["x-request-id"] == "grpc-1"
    time.sleep(0.1)
    line = json.loads(gate.access_log.read_text().splitlines()[-1])
    assert (line["id"], line["caller"], line["grpc_status"], line["protocol"]) == ("grpc-1", "alice", "0", "HTTP/2.0")


def test_grpc_messages_are_counted_by_their_bytes(make_gate, photo):
    """Their length is known when they are whole: large ones wait for nobody, small ones pass beside them."""
    narrow = make_gate(grpc_large_requests=1)
    large, small = encoded(photo.resize((2400, 1800)), "BMP"), encoded(photo, "PNG")

    def ask_for(data: bytes) -> str:
        try:
            return "error" if "error" in client.ask("authenticity", data) else "OK"
        except grpc.RpcError as error:
            return f"{error.code().name} {error.details().split(':')[0]}"

    with GrpcClient(narrow.settings.grpc, TOKEN) as client, ThreadPoolExecutor(16) as pool:
        outcomes = Counter(pool.map(ask_for, [large] * 8))
        assert set(outcomes) == {"OK", "UNAVAILABLE busy"}, outcomes
        assert Counter(pool.map(ask_for, [small] * 16)) == {"OK": 16}


def test_calls_over_grpc_do_not_count_those_over_rest(make_gate, photo):
    gate = make_gate(grpc_requests_at_once=1)
    host, _, port = gate.settings.rest.rpartition(":")
    begun = f"POST /predictions/authenticity HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
    with socket.create_connection((host, int(port))) as sender, GrpcClient(gate.settings.grpc, TOKEN) as client:
        sender.sendall(f"{begun}Content-Type: image/jpeg\r\nContent-Length: 1000\r\n\r\n".encode() + bytes(10))
        time.sleep(0.2)
        assert "label" in client.ask("authenticity", encoded(photo, "PNG"))


def test_torchserve_sees_nothing_of_a_call_that_is_not_whole(gate, server):
    """The gate takes the whole message before it asks for a connection; counted in Java's connections."""
    java_port = int(server.addresses.grpc_inference.rpartition(":")[2])

    def connections() -> int:
        return sum(
            one.status == "ESTABLISHED" and one.laddr.port == java_port
            for one in server.process.net_connections(kind="tcp")
        )

    before = connections()
    host, _, port = gate.settings.grpc.rpartition(":")
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            opened = stack.enter_context(socket.create_connection((host, int(port))))
            opened.sendall(unfinished_call())
        time.sleep(0.5)
        assert connections() <= before
        with GrpcClient(gate.settings.grpc, OTHER) as client:
            assert client.ask("authenticity", b"hello")["error"]["code"] == "unknown_format"


def unfinished_call() -> bytes:
    """Return HTTP/2's preface, settings, the headers of a call, and a part of its message."""

    def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    def literal(name: str, value: str) -> bytes:
        parts = (text.encode() for text in (name, value))
        return b"\x00" + b"".join(_integer(len(part)) + part for part in parts)

    def _integer(number: int) -> bytes:
        return bytes([number]) if number < 127 else bytes([127, number - 127])

    fields = {
        ":method": "POST", ":scheme": "http", ":authority": "gate",
        ":path": "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions",
        "content-type": "application/grpc", "te": "trailers", "authorization": f"Bearer {TOKEN}",
    }  # fmt: skip
    block = b"".join(literal(name, value) for name, value in fields.items())
    return (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + frame(4, 0, 0, b"")
        + frame(1, 4, 1, block)
        + frame(0, 0, 1, b"\0" + (1000).to_bytes(4, "big") + bytes(100))
    )
