"""Both clients against a real HTTP server, which plays answers and failures."""

import asyncio
import io
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from imagetrust.client import (
    AsyncClient,
    BusyError,
    Client,
    ClientError,
    PictureError,
    TokenError,
    UnreachableError,
    exchange,
)
from server.gate import self_signed
from tests.client.answers import AUTHENTICITY, BOTH, EXPLANATION, GENERATOR_TYPE, JPEG, PNG
from tests.client.player import Play, play

ROOT = Path(__file__).resolve().parent.parent.parent


def ask_waiting(address, question, *pictures, options=None, **settings):
    with Client(address, **settings) as client:
        return [getattr(client, question)(*picture, **(options or {})) for picture in pictures or [()]][-1]


def ask_async(address, question, *pictures, options=None, **settings):
    async def ask():
        async with AsyncClient(address, **settings) as client:
            return [await getattr(client, question)(*picture, **(options or {})) for picture in pictures or [()]][-1]

    return asyncio.run(ask())


@pytest.fixture(params=[ask_waiting, ask_async], ids=["waiting", "async"])
def ask(request):
    return request.param


@pytest.fixture
def quick(monkeypatch):
    """Waits of the back-off, made short."""
    monkeypatch.setattr(exchange, "_FIRST_WAIT", 0.01)


def test_importing_it_needs_nothing_that_a_model_needs():
    program = "import sys, imagetrust.client; print(*{'torch', 'openvino', 'numpy', 'PIL', 'cv2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


QUESTIONS = {
    "authenticity": ("/predictions/authenticity", None, AUTHENTICITY),
    "generator_type": ("/predictions/generator_type", None, GENERATOR_TYPE),
    "verdicts": ("/predictions/explanation", "verdicts", {"inferred": BOTH}),
    "explanation": ("/predictions/explanation", None, EXPLANATION),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_is_asked_as_the_api_says(ask, player, question):
    path, detail, answer = QUESTIONS[question]
    player.plays = [Play(body=answer)]
    assert ask(player.address, question, (JPEG,), token="secret")
    (seen,) = player.seen
    assert (seen["method"], seen["path"], seen["body"]) == ("POST", path, JPEG)
    assert seen["headers"]["content-type"] == "image/jpeg"
    assert seen["headers"]["authorization"] == "Bearer secret"
    assert seen["headers"].get("imagetrust-detail") == detail
    assert len(seen["headers"]["x-request-id"]) == 32


def test_options_of_an_explanation_are_headers(ask, player):
    player.plays = [Play(body=EXPLANATION)]
    ask(player.address, "explanation", (JPEG,), options={"class_": "gan", "method": "layercam", "place": "shown"})
    headers = player.seen[0]["headers"]
    assert {name: headers[f"imagetrust-{name}"] for name in ("class", "method", "place")} == {
        "class": "gan", "method": "layercam", "place": "shown",
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["path", "text", "bytes", "view", "file"])
def test_a_picture_may_be_a_path_bytes_or_an_open_file(ask, player, tmp_path, kind):
    player.plays = [Play(body=AUTHENTICITY)]
    path = tmp_path / "photo.png"
    path.write_bytes(PNG)
    pictures = {"path": path, "text": str(path), "bytes": PNG, "view": memoryview(PNG), "file": io.BytesIO(PNG)}
    ask(player.address, "authenticity", (pictures[kind],))
    assert player.seen[0]["body"] == PNG
    assert player.seen[0]["headers"]["content-type"] == "image/png"


def test_a_file_that_cannot_be_read_is_an_os_error(ask, player, tmp_path):
    with pytest.raises(FileNotFoundError):
        ask(player.address, "authenticity", (tmp_path / "nothing.jpg",))
    assert not player.seen


@pytest.mark.parametrize("kind", ["bytes", "file"])
def test_a_picture_over_the_bound_is_not_sent(ask, player, kind):
    picture = JPEG if kind == "bytes" else io.BytesIO(JPEG)
    with pytest.raises(PictureError) as raised:
        ask(player.address, "authenticity", (picture,), max_bytes=len(JPEG) - 1)
    assert (raised.value.status, raised.value.code) == (None, "too_many_bytes")
    assert not player.seen
    player.plays = [Play(body=AUTHENTICITY)]
    assert ask(player.address, "authenticity", (JPEG,), max_bytes=len(JPEG))


def test_one_connection_serves_many_calls(ask, player):
    player.plays = [Play(body=AUTHENTICITY)]
    ask(player.address, "authenticity", *[(JPEG,)] * 5)
    assert len(player.seen) == 5 and player.connections == 1
    assert len({seen["headers"]["x-request-id"] for seen in player.seen}) == 5


def test_threads_share_a_client(player):
    player.plays = [Play(body=AUTHENTICITY, delay=0.02)]
    with Client(player.address) as client:
        threads = [threading.Thread(target=client.authenticity, args=(JPEG,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(player.seen) == 8


@pytest.mark.parametrize(
    "failure",
    [
        Play(503, {"error": {"code": "busy", "message": "Later."}}),
        Play(507, {"code": 507}),
        Play(429),
        Play(reset=True),
    ],
    ids=["503", "507", "429", "reset"],
)
def test_a_call_is_repeated_under_one_name_until_it_is_answered(ask, player, quick, failure):
    player.plays = [failure, failure, Play(body=AUTHENTICITY)]
    assert ask(player.address, "authenticity", (JPEG,), retries=2).verdict == "generated"
    assert [seen["body"] for seen in player.seen] == [JPEG] * 3
    assert len({seen["headers"]["x-request-id"] for seen in player.seen}) == 1


def test_retries_are_counted(ask, player, quick):
    player.plays = [Play(503, {"error": {"code": "busy", "message": "Later."}}, {"Retry-After": "0"})]
    with pytest.raises(BusyError) as raised:
        ask(player.address, "authenticity", (JPEG,), retries=2)
    assert len(player.seen) == 3
    error = raised.value
    assert (error.status, error.code, error.message, error.retry_after) == (503, "busy", "Later.", 0)
    assert error.request_id == player.seen[0]["headers"]["x-request-id"]


def test_it_waits_as_long_as_the_server_asks(ask, player, quick):
    player.plays = [Play(503, headers={"Retry-After": "1"}), Play(body=AUTHENTICITY)]
    begin = time.monotonic()
    ask(player.address, "authenticity", (JPEG,))
    assert time.monotonic() - begin >= 1


def test_it_does_not_wait_beyond_the_time_of_the_call(ask, player, quick):
    player.plays = [Play(503, headers={"Retry-After": "30"})]
    begin = time.monotonic()
    with pytest.raises(BusyError) as raised:
        ask(player.address, "authenticity", (JPEG,), timeout=5)
    assert time.monotonic() - begin < 4 and raised.value.retry_after == 30


@pytest.mark.parametrize("slow", [Play(body=AUTHENTICITY, delay=3), Play(body=AUTHENTICITY, drip=0.05)])
def test_a_slow_server_holds_a_call_no_longer_than_its_time(ask, player, slow):
    player.plays = [slow]
    begin = time.monotonic()
    with pytest.raises(UnreachableError) as raised:
        ask(player.address, "authenticity", (JPEG,), timeout=0.5)
    assert time.monotonic() - begin < 2 and raised.value.code == "timed_out"


def test_nobody_there_is_said(ask, quick):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        with pytest.raises(UnreachableError) as raised:
            ask(f"http://127.0.0.1:{taken.getsockname()[1]}", "authenticity", (JPEG,))
    assert (raised.value.status, raised.value.code) == (None, "unreachable")


REFUSALS = [
    (400, {"error": {"code": "broken_picture", "message": "It is cut off."}}, PictureError, "broken_picture"),
    (400, {"error": {"code": "too_small", "message": "…", "limit": 32}}, PictureError, "too_small"),
    (400, {"error": {"code": "invalid_option", "message": "…", "allowed": ["full"]}}, ClientError, "invalid_option"),
    (401, {"error": {"code": "unauthorized", "message": "…"}}, TokenError, "unauthorized"),
    (400, {"code": 400, "type": "InvalidKeyException", "message": "…"}, TokenError, "unauthorized"),
    (404, {"code": 404, "type": "ModelNotFoundException", "message": "…"}, ClientError, "unknown_model"),
    (413, b"", PictureError, "too_many_bytes"),
    (500, {"error": {"code": "internal", "message": "…"}}, ClientError, "internal"),
    (500, {"code": 500, "type": "InternalServerException", "message": "Worker died."}, ClientError, "internal"),
    (502, b"<html>Bad Gateway</html>", ClientError, "unknown"),
    (302, b"", ClientError, "unknown"),
]


@pytest.mark.parametrize(("status", "body", "kind", "code"), REFUSALS)
def test_a_refusal_is_said_at_once_and_in_one_way(ask, player, status, body, kind, code):
    player.plays = [Play(status, body, {"Location": "/elsewhere"})]
    with pytest.raises(ClientError) as raised:
        ask(player.address, "authenticity", (JPEG,))
    assert type(raised.value) is kind
    assert (raised.value.status, raised.value.code) == (status, code) and raised.value.message
    assert len(player.seen) == 1


@pytest.mark.parametrize("body", [b"", b"hello", b"[" * 100_000, {"label": "real"}, AUTHENTICITY | {"logits": 3}])
def test_an_answer_that_is_none_is_an_error(ask, player, body):
    player.plays = [Play(body=body)]
    with pytest.raises(ClientError) as raised:
        ask(player.address, "authenticity", (JPEG,))
    assert raised.value.code == "unreadable_answer"


def test_an_answer_without_an_end_is_cut_off(ask, player, monkeypatch):
    monkeypatch.setattr(exchange, "MAX_ANSWER", 1000)
    player.plays = [Play(body=b" " * 5000)]
    with pytest.raises(ClientError) as raised:
        ask(player.address, "authenticity", (JPEG,))
    assert raised.value.code == "unreadable_answer"


def test_a_token_may_be_another_one_at_each_call(ask, player):
    tokens = iter(["first", "second"])
    player.plays = [Play(body=AUTHENTICITY)]
    ask(player.address, "authenticity", (JPEG,), (JPEG,), token=lambda: next(tokens))
    assert [seen["headers"]["authorization"] for seen in player.seen] == ["Bearer first", "Bearer second"]


NOT_THE_GATE = Play(404, {"code": 404, "type": "ResourceNotFoundException", "message": "…"})


@pytest.mark.parametrize(
    ("plays", "is_ready"),
    [
        ([Play(body={"status": "ready"})], True),
        ([Play(503, {"error": {"code": "not_ready", "message": "…"}}, {"Retry-After": "5"})], False),
        ([NOT_THE_GATE, Play(body={"status": "Healthy"})], True),
        ([NOT_THE_GATE, Play(500, {"status": "Unhealthy"})], False),
        ([NOT_THE_GATE, Play(body={"status": "Partial Healthy"})], False),
    ],
)
def test_ready_asks_the_gate_or_torchserve(ask, player, plays, is_ready):
    player.plays = [*plays]
    assert ask(player.address, "ready") is is_ready
    assert [seen["path"] for seen in player.seen] == ["/health/ready", "/ping"][: len(plays)]


@pytest.mark.parametrize("address", ["", "127.0.0.1:8080", "ftp://host", "http://", "http://host/?query"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(ValueError, match="address"):
        Client(address)


def test_a_proxy_is_not_asked_for_a_server_on_this_machine(ask, player, monkeypatch):
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    player.plays = [Play(body=AUTHENTICITY)]
    assert ask(player.address, "authenticity", (JPEG,), retries=0)


@pytest.fixture
def encrypted(tmp_path):
    """A server that speaks TLS, and the certificate that it signed itself."""
    certificate, key = self_signed(tmp_path, "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    playing, server = play(context)
    playing.plays = [Play(body=AUTHENTICITY)]
    yield playing, certificate
    server.shutdown()
    server.server_close()


def test_a_private_authority_is_trusted_where_it_is_named(ask, encrypted):
    player, certificate = encrypted
    assert ask(player.address, "authenticity", (JPEG,), certificates=certificate)
    with pytest.raises(UnreachableError) as raised:
        ask(player.address, "authenticity", (JPEG,))
    assert raised.value.code == "untrusted_certificate" and len(player.seen) == 1
