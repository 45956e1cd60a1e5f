"""The gate before a server that answers as a script says: what it refuses, buffers, asks again, logs and reloads."""

import contextlib
import json
import os
import socket
import ssl
import stat
import struct
import threading
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
import requests

from server import gate as gate_module
from server.gate import Gate, add_token, nginx, self_signed
from server.gate_config import Behind, GateError, answers, read_callers, read_settings, render
from server.gate_keeper import own_server
from server.instance import TorchServe, free_ports
from tests.server.test_rest import SCHEMA, is_valid

try:
    nginx()
    MISSING = ""
except GateError as error:
    MISSING = str(error)
needs_nginx = pytest.mark.skipif(bool(MISSING), reason=f"NOT TESTED: {MISSING}")

TOKEN = "alice-token-of-some-length-0123456789"
SECOND = "alice-token-that-replaces-it-98765432"
OTHER = "bob-token-of-some-length-0123456789-Z"
PATH = "/predictions/authenticity"
ORIGIN = "https://app.example.com"
PICTURE = {"Content-Type": "image/jpeg"}
MARKED = {"ImageTrust-Error": '{"error":{"code":"broken_picture","message":"m"}}'}


def open_for_workers(folder: Path) -> Path:
    """Let the user that nginx works as, where root starts it, pass to a folder."""
    for closed in (folder, *folder.parents):
        if os.geteuid() == 0 and not closed.stat().st_mode & stat.S_IXOTH:
            closed.chmod(closed.stat().st_mode | stat.S_IXOTH)
    return folder


def gate_before(server: TorchServe, folder: Path, callers: dict[str, str], **changes: object) -> Gate:
    """A gate before a TorchServe, on free ports and not started. callers: the tokens by name."""
    file = open_for_workers(folder) / "callers"
    file.write_text("".join(f"{name} {token}\n" for name, token in callers.items()))
    file.chmod(0o600)
    rest, grpc = free_ports(2)
    addresses = {"callers": str(file), "rest": f"127.0.0.1:{rest}", "grpc": f"127.0.0.1:{grpc}"}
    behind = own_server(server, server.addresses)
    return Gate(folder / f"gate-{rest}", read_settings(changes=addresses | changes), behind)


class Scripted(BaseHTTPRequestHandler):
    """Answers with what `script` holds next: (status, headers, body), or None to reset the connection."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", -1))
        body = self.rfile.read(max(length, 0))
        self.server.seen.append((self.path, dict(self.headers.items()), body))
        answer = self.server.script.pop(0) if self.server.script else (200, {}, body[:100])
        if callable(answer):
            answer = answer(body)
        if answer is None:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        status, headers, content = answer
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST

    def log_message(self, *_) -> None:
        """Print nothing."""


@contextlib.contextmanager
def scripted():
    """A scripted server; what it has seen, and what it will answer."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Scripted) as running:
        running.daemon_threads = True
        running.seen, running.script = [], []
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def behind():
    with scripted() as running:
        yield running


@pytest.fixture
def callers(folder) -> Path:
    path = folder / "callers"
    path.write_text(f"# who may ask\nalice {TOKEN}\nbob {OTHER}\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def make_gate(folder, callers, behind):
    """Start a gate with changed settings; it is stopped at the end."""
    with contextlib.ExitStack() as stack:

        def made(machines: Behind | None = None, **changes: object) -> Gate:
            rest, grpc = free_ports(2)
            settings = read_settings(
                changes={"callers": str(callers), "rest": f"127.0.0.1:{rest}", "grpc": f"127.0.0.1:{grpc}"} | changes
            )
            address = f"127.0.0.1:{behind.server_port}"
            made = Gate(
                open_for_workers(folder) / f"gate{rest}",
                settings,
                lambda: machines or Behind((address,), (address,), "behindtoken"),
            )
            made.start()
            stack.callback(made.stop, 5)
            return made

        yield made


def post(gate: Gate, path: str = PATH, token: str = TOKEN, session=requests, **request) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"} | PICTURE | request.pop("headers", {})
    return session.post(f"http://{gate.settings.rest}{path}", headers=headers, timeout=60, **request)


def code_of(answer: requests.Response) -> str:
    assert answer.headers["Content-Type"] == "application/json"
    assert set(answer.json()["error"]) >= {"code", "message"}
    return answer.json()["error"]["code"]


def sent_raw(gate: Gate, data: bytes, seconds: float = 5) -> bytes:
    """Return all that the gate answers to bytes until it closes, or is silent for `seconds`."""
    host, _, port = gate.settings.rest.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        connection.sendall(data)
        received = b""
        with contextlib.suppress(TimeoutError, ConnectionError):
            while chunk := connection.recv(65536):
                received += chunk
        return received


def head(*lines: str, method: str = "POST", path: str = PATH) -> bytes:
    wanted = (f"{method} {path} HTTP/1.1", "Host: gate", f"Authorization: Bearer {TOKEN}", "Content-Type: image/jpeg")
    return "\r\n".join([*wanted, *lines, "", ""]).encode()


def log_of(gate: Gate) -> list[dict]:
    time.sleep(0.1)  # nginx writes a line when the answer is out
    return [json.loads(line) for line in gate.access_log.read_text().splitlines()]


# -------------------------------------------------------------------------------------------- settings and tokens


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('rest = "0.0.0.0:8443"', "TLS"),
        ('grpc = "[::]:7443"', "TLS"),
        ('rest = "gate.example.com:8443"', "TLS"),
        ('rest = "8443"', "host:port"),
        ('rest = "127.0.0.1:80; return 200"', "host:port"),
        ('certificate = "a.pem"', "go together"),
        ('origins = ["*"]', "origin"),
        ('origins = ["https://a.example/path"]', "origin"),
        ("burst = 0", "positive"),
        ('burst = "9"', "must be int"),
        ("bursts = 9", "no setting bursts"),
        ("[behind]\nrests = []", "no setting rests"),
        ('[behind]\nrest = ["a:1"]\ngrpc = ["a:2"]', "rest, grpc and token of .behind. go together"),
        ('[behind]\ncertificate_name = "a"', "certificate_authority and certificate_name"),
        ("rest = ", "cannot be read"),
    ],
)  # fmt: skip
def test_settings_at_fault_are_named(tmp_path, text, word):
    path = tmp_path / "gate.toml"
    path.write_text(text)
    with pytest.raises(GateError, match=word):
        read_settings(path)


@pytest.mark.parametrize("extra", ["tls_ends_elsewhere = true", 'certificate = "c.pem"\ncertificate_key = "c.key"'])
def test_beyond_loopback_with_tls(tmp_path, extra):
    path = tmp_path / "gate.toml"
    path.write_text(f'rest = "0.0.0.0:8443"\ngrpc = "0.0.0.0:7443"\n{extra}')
    settings = read_settings(path)
    assert settings.rest == "0.0.0.0:8443"
    assert settings.certificate in ("", str(tmp_path / "c.pem"))


def test_as_shipped_it_listens_on_loopback():
    settings = read_settings()
    assert settings.rest == "127.0.0.1:8090" and settings.grpc == "127.0.0.1:7090"
    assert settings.callers == "", "the file in the server's folder"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_tokens_that_others_may_read_are_refused(callers, mode):
    callers.chmod(mode)
    with pytest.raises(GateError, match="chmod 600"):
        read_callers(callers)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who alone gives files to others")
@pytest.mark.parametrize(
    ("owner", "group", "mode", "taken"),
    [
        (0, 10001, 0o440, True),  # as Kubernetes gives a secret to the group of a pod
        (0, 10001, 0o460, False),
        (0, 10001, 0o444, False),
        (0, 10002, 0o440, False),
        (10001, 10001, 0o440, False),
        (10001, 10001, 0o400, True),
    ],
)
def test_a_secret_of_root_for_the_groups_of_the_gate(callers, monkeypatch, owner, group, mode, taken):
    os.chown(callers, owner, group)
    callers.chmod(mode)
    monkeypatch.setattr(os, "geteuid", lambda: 10001)
    monkeypatch.setattr(os, "getegid", lambda: 10001)
    monkeypatch.setattr(os, "getgroups", lambda: [10001])
    if taken:
        assert read_callers(callers)
    else:
        with pytest.raises(GateError, match="chmod 600"):
            read_callers(callers)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("alice short", "is not `NAME TOKEN`"),
        (f"al;ice {TOKEN}", "is not `NAME TOKEN`"),
        (f'alice {TOKEN}";}}', "is not `NAME TOKEN`"),
        (f"alice {TOKEN} more", "is not `NAME TOKEN`"),
        (f"alice {TOKEN}\nbob {TOKEN}", "twice"),
        ("# nobody", "holds no token"),
    ],
)  # fmt: skip
def test_tokens_at_fault_are_named_and_not_shown(callers, text, word):
    callers.write_text(text)
    with pytest.raises(GateError, match=word) as caught:
        read_callers(callers)
    assert TOKEN not in str(caught.value)


def test_a_mounted_secret_is_a_folder_of_names(tmp_path):
    versions = tmp_path / "..data"
    versions.mkdir()
    (versions / "alice").write_text(f"{TOKEN}\n{SECOND}\n")
    (versions / "alice").chmod(0o400)
    (tmp_path / "alice").symlink_to(versions / "alice")
    assert read_callers(tmp_path) == [("alice", TOKEN), ("alice", SECOND)]


def test_a_token_is_added_and_the_others_stay(tmp_path):
    path = tmp_path / "new" / "callers"
    first, second = add_token(path, "alice"), add_token(path, "bob")
    assert read_callers(path) == [("alice", first), ("bob", second)]
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(GateError):
        add_token(path, "no name")
    assert read_callers(path) == [("alice", first), ("bob", second)]
    assert list(path.parent.iterdir()) == [path]


def test_without_nginx_it_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(gate_module.shutil, "which", lambda *_, **__: None)
    with pytest.raises(GateError, match=r"apt-get install nginx.*this machine alone"):
        nginx()


def test_a_path_that_means_something_to_nginx_is_refused(callers):
    settings = read_settings(changes={"callers": str(callers)})
    with pytest.raises(GateError, match="names of letters"):
        render(settings, Behind(("127.0.0.1:1",), ("127.0.0.1:2",), "t"), Path('/tmp/a";b'))


# -------------------------------------------------------------------------------------------- nginx's files


MACHINES = Behind(("10.0.0.1:8443", "10.0.0.2:8443"), ("10.0.0.1:7443", "10.0.0.2:7443"), "t", are_gates=True)


@needs_nginx
@pytest.mark.parametrize(
    "machines",
    [
        Behind(("127.0.0.1:1",), ("127.0.0.1:2",), "t"),
        Behind(("127.0.0.1:1",), ("127.0.0.1:2",), "t", canaries={"authenticity": ("0.5", 5.0), "a.b": ("1", 0.5)}),
        MACHINES,
    ],
)
@pytest.mark.parametrize("origins", [[], [ORIGIN, "http://localhost:3000"]])
def test_nginx_accepts_the_files(folder, callers, machines, origins):
    settings = read_settings(changes={"callers": str(callers), "origins": origins})
    gate = Gate(open_for_workers(folder) / "gate", settings, lambda: machines)
    assert gate.write() and not gate.write()
    gate.check()
    for path in gate.folder.glob("*.conf"):
        assert path.stat().st_mode & 0o777 == 0o600


@needs_nginx
def test_nginx_accepts_machines_with_tls_and_a_certificate_of_our_own(folder, callers):
    certificate, key = self_signed(folder / "tls", "localhost")
    assert key.stat().st_mode & 0o777 == 0o600
    changes = {
        "callers": str(callers), "certificate": str(certificate), "certificate_key": str(key), "rest": "0.0.0.0:8443",
        "grpc": "0.0.0.0:7443",
        "behind": {"rest": list(MACHINES.rest), "grpc": list(MACHINES.grpc), "token": str(folder / "front"),
                   "certificate_authority": str(certificate), "certificate_name": "localhost"},
    }  # fmt: skip
    (folder / "front").write_text(f"front {TOKEN}")
    (folder / "front").chmod(0o600)
    settings = read_settings(changes=changes)
    gate = Gate(open_for_workers(folder) / "gate", settings, settings.machines)
    assert gate.write() and not gate.write()
    self_signed(folder / "tls", "localhost")
    assert gate.write()  # a renewed certificate is a change


@needs_nginx
def test_files_that_nginx_refuses_are_taken_back(make_gate, monkeypatch):
    gate = make_gate()
    before = (gate.folder / "nginx.conf").read_text()
    monkeypatch.setattr(gate_module, "render", lambda *_: {"nginx.conf": "events {} http { nonsense; }"})
    with pytest.raises(GateError, match="nonsense"):
        gate.reload()
    assert (gate.folder / "nginx.conf").read_text() == before
    assert post(gate, data=b"picture").status_code == 200


def test_every_answer_has_a_status_a_code_of_grpc_and_a_message():
    described = SCHEMA["$defs"]["gate_error"]["properties"]["error"]["properties"]["code"]["enum"]
    assert set(described) == set(answers(read_settings()))
    for code, row in answers(read_settings()).items():
        assert 400 <= row["status"] < 600 and 0 < row["grpc"] <= 16, code
        assert row["message"].endswith(".") and not set("'\"$\\") & set(row["message"]), code
        assert ("retry" in row) == (row["status"] in (429, 503)), code


# -------------------------------------------------------------------------------------------- what is refused


BAD_TOKENS = (
    {"Authorization": ""},
    {"Authorization": "Bearer nonsense"},
    {"Authorization": f"Bearer {TOKEN}x"},
    {"Authorization": f"Bearer {TOKEN[:-1]}"},
    {"Authorization": f"Bearer {TOKEN.upper()}"},
    {"Authorization": f"Basic {TOKEN}"},
    {"Authorization": TOKEN},
    {"Authorization": "Bearer behindtoken"},
)


@needs_nginx
def test_refusals(make_gate, behind):
    """Each with its status and code, in our form, named and counted; the server sees none of them."""
    gate = make_gate(origins=[ORIGIN], body_bytes=1000)
    preflight = {"Access-Control-Request-Method": "POST", "Origin": "https://evil.example.com"}
    form = "multipart/form-data"
    url = f"http://{gate.settings.rest}"
    cases = [
        *((401, "unauthorized", post(gate, data=b"p", headers=headers)) for headers in BAD_TOKENS),
        (413, "too_many_bytes", post(gate, data=bytes(1001))),
        (413, "too_many_bytes", post(gate, data=iter([bytes(600), bytes(600)]))),
        *((415, "unsupported_content_type", post(gate, data=b"a=b", headers={"Content-Type": kind}))
          for kind in ("application/x-www-form-urlencoded", "Application/X-WWW-Form-Urlencoded; charset=utf-8")),
        *((400, "invalid_form", post(gate, data=b"p", headers={"Content-Type": kind}))
          for kind in (form, f"{form}; boundary=", f"{form}; boundary={'b' * 71}", f"{form}; Boundary=a",
                       "Multipart/Form-Data; boundary=x", "multipart/mixed; boundary=x", f'{form}; boundary="a\tb"')),
        *((400, "unsupported_encoding", post(gate, data=b"p", headers={"Content-Encoding": coding}))
          for coding in ("gzip", "br", "identity, gzip", "GZIP")),
        *((400, "unexpected_query", post(gate, path, data=b"p"))
          for path in (f"{PATH}?detail=verdicts", "/explanations/authenticity?class=real", f"{PATH}/0.3?x",
                       "/v1/models/authenticity:predict?a=b", "/v2/models/authenticity/infer?a")),
        *((404, "no_route", post(gate, path, data=b"p"))
          for path in ("/", "/ping", "/models", "/models/authenticity", "/workflows", "/wfpredict/a", "/metrics",
                       "/invocations", "/predictions", "/predictions/", "/predictions/a/b/c", "/predictions/a%20b",
                       "/predictions//authenticity", "/_answer/busy", "/token", "/v2/models/a/versions/1/infer",
                       "/predictions/" + "a" * 65)),
        *((405, "method_not_allowed", requests.request(method, url + PATH, headers=PICTURE | bearer(), timeout=9))
          for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS")),
        (403, "origin_not_allowed", requests.options(url + PATH, headers=preflight, timeout=9)),
        *((405, "method_not_allowed", post(gate, path, data=b"p"))
          for path in ("/health/live", "/health/ready", "/api-description")),
        (401, "unauthorized", requests.get(f"{url}/api-description", timeout=9)),
        (503, "not_ready", requests.get(f"{url}/health/ready", timeout=9)),
    ]  # fmt: skip
    for number, (status, code, answer) in enumerate(cases):
        assert (answer.status_code, code_of(answer)) == (status, code), (number, answer.text)
        assert is_valid(answer.json(), "gate_error") and answer.headers["X-Request-Id"]
        assert answer.headers["Cache-Control"] == "no-store"
        assert ("WWW-Authenticate" in answer.headers) == (status == 401)
        assert ("Retry-After" in answer.headers) == (status in (429, 503))
        assert ("Allow" in answer.headers) == (status == 405)
    assert not behind.seen
    wrong_type = next(answer for _, code, answer in cases if code == "unsupported_content_type")
    assert "application/octet-stream" in wrong_type.json()["error"]["message"]


def bearer(token: str = TOKEN) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@needs_nginx
@pytest.mark.parametrize(
    "data",
    [
        head("Content-Length: 3", "Transfer-Encoding: chunked") + b"0\r\n\r\nGET /ping HTTP/1.1\r\n\r\n",
        head("Transfer-Encoding: chunked", "Content-Length: 3") + b"0\r\n\r\n",
        head("Content-Length: 3", "Content-Length: 4") + b"abcd",
        head("Content-Length: 3", "Content-Length: 3") + b"abc",
        head("Content-Length: 3, 3") + b"abc",
        head("Content-Length: +3") + b"abc",
        head("Content-Length: 0x3") + b"abc",
        head("Content-Length: -3") + b"abc",
        head("Content-Length: 3 4") + b"abc",
        head("Content-Length:") + b"abc",
        head("Content-Length : 3") + b"abc",
        head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        head("Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
        head("Transfer-Encoding: identity") + b"abc",
        head("Transfer-Encoding: xchunked") + b"0\r\n\r\n",
        head("Transfer-Encoding : chunked") + b"0\r\n\r\n",
        head("Transfer-Encoding: chunked").replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n",
        head("Transfer-Encoding: chunked") + b"x\r\nabc\r\n0\r\n\r\n",
        head("Transfer-Encoding: chunked") + b"-3\r\nabc\r\n0\r\n\r\n",
        head("Transfer-Encoding: chunked") + b"ffffffffffffffffff\r\nabc",
        head("Transfer-Encoding: chunked") + b"3\r\nabcd\r\n0\r\n\r\n",
        head("Content-Length: 3", " folded: yes") + b"abc",
        head("Content-Length: 3").replace(b"Host: gate\r\n", b"") + b"abc",
        head("Content-Length: 3", "Host: second") + b"abc",
        head("Content-Length: 3", "Authorization: Bearer second") + b"abc",
        head("X-Long: " + "a" * 40000),
        b"POST " + b"/" + b"a" * 40000 + b" HTTP/1.1\r\n\r\n",
        b"POST http://127.0.0.1:1/models HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        b"CONNECT 127.0.0.1:8081 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)  # fmt: skip
def test_odd_framings_never_reach_the_server(make_gate, behind, data):
    gate = make_gate(sender_seconds=1)
    answer = sent_raw(gate, data)
    assert answer.startswith(b"HTTP/1.1 4") or answer.startswith(b"HTTP/1.1 501") or not answer, answer[:200]
    assert not behind.seen


@needs_nginx
@pytest.mark.parametrize(
    "data",
    [
        head("Transfer-Encoding: chunked", "Connection: close") + b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nA: b\r\n\r\n",
        head("Transfer-Encoding: CHUNKED", "Connection: close") + b"7\r\nabcdefg\r\n0\r\n\r\n",
        head("Content-Length: 7", "Content_Length: 2", "Connection: close") + b"abcdefg",
        head("Content-Length: 7", "Expect: 100-continue", "Connection: close") + b"abcdefg",
        head("Content-Length: 7", "Upgrade: h2c", "HTTP2-Settings: AA", "Connection: Upgrade, close") + b"abcdefg",
        head("Content-Length: 7", "Connection: close", "Content-Type: application/x-www-form-urlencoded") + b"abcdefg",
    ],
)  # fmt: skip
def test_the_server_sees_one_plain_request(make_gate, behind, data):
    """Whole, with one length, one type and the server's own token, whatever the framing was."""
    answer = sent_raw(make_gate(), data)
    assert b"HTTP/1.1 200" in answer
    ((path, headers, body),) = behind.seen
    names = {name.lower() for name in headers}
    assert (path, body, headers["Content-Length"]) == (PATH, b"abcdefg", "7")
    assert headers["Authorization"] == "Bearer behindtoken" and headers["Content-Type"] == "image/jpeg"
    assert not names & {"transfer-encoding", "expect", "upgrade", "http2-settings", "content_length", "te"}


@needs_nginx
def test_nothing_is_passed_before_the_whole_is_there(make_gate, behind):
    gate = make_gate(sender_seconds=2)
    host, _, port = gate.settings.rest.rpartition(":")
    with socket.create_connection((host, int(port))) as slow:
        slow.sendall(head("Content-Length: 1500000") + bytes(1_400_000))
        assert post(gate, data=b"quick").status_code == 200
        assert [body for _, _, body in behind.seen] == [b"quick"]
        slow.sendall(bytes(100_000))
        slow.settimeout(10)
        assert slow.recv(100).startswith(b"HTTP/1.1 200")
    assert len(behind.seen[1][2]) == 1_500_000
    with socket.create_connection((host, int(port))) as stuck:
        stuck.sendall(head("Content-Length: 100") + b"some")
        stuck.settimeout(10)
        begin = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            assert stuck.recv(100) == b""
        assert time.monotonic() - begin < 8
    assert len(behind.seen) == 2


# -------------------------------------------------------------------------------------------- limits


@needs_nginx
def test_limits_are_each_callers_own(make_gate, behind):
    gate = make_gate(requests_at_once=2, requests_per_second=1, burst=6)
    held = threading.Event()
    behind.script += [lambda body: (held.wait(20), (200, {}, b"{}"))[1]] * 2
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(post, gate, data=b"slow") for _ in range(2)]
        while len(behind.seen) < 2:
            time.sleep(0.01)
        refused = post(gate, data=b"third")
        assert (refused.status_code, code_of(refused)) == (429, "too_many_requests")
        assert refused.headers["Retry-After"] == "1"
        assert post(gate, token=OTHER, data=b"other").status_code == 200
        held.set()
        assert [future.result().status_code for future in waiting] == [200, 200]
    statuses = Counter(post(gate, data=b"many").status_code for _ in range(10))
    assert statuses[429] >= 4 and statuses[200] >= 3
    assert post(gate, token=OTHER, data=b"other").status_code == 200


@needs_nginx
@pytest.mark.parametrize(
    ("pool", "body", "content_type"),
    [
        ("small", bytes(10), "image/jpeg"),
        ("small", bytes(10), "multipart/form-data; boundary=x"),
        ("medium", bytes(1_000_000), "image/jpeg"),
        ("medium", bytes(5_000_000), "multipart/form-data; boundary=x"),
        ("large", bytes(6_000_000), "image/jpeg"),
        ("large", iter([b"a", b"b"]), "image/jpeg"),
        ("largest", bytes(21_000_000), "application/json"),
        ("form", bytes(6_000_000), "multipart/form-data; boundary=x"),
        ("form", bytes(21_000_000), "multipart/form-data;charset=utf-8; boundary=x"),
        ("form", iter([b"a", b"b"]), "multipart/form-data; boundary=x"),
    ],
)
def test_the_server_holds_so_many_bytes_at_once(make_gate, behind, pool, body, content_type):
    gate = make_gate(**{f"{pool}_requests": 1})
    held = threading.Event()
    behind.script.append(lambda body: (held.wait(20), (200, {}, b"{}"))[1])
    with ThreadPoolExecutor(1) as threads:
        headers = {"Content-Type": content_type}
        first = threads.submit(post, gate, data=body, headers=headers)
        while not behind.seen:
            time.sleep(0.01)
        second = post(gate, data=body if isinstance(body, bytes) else iter([b"c"]), headers=headers)
        assert (second.status_code, code_of(second), second.headers["Retry-After"]) == (503, "busy", "1")
        held.set()
        assert first.result().status_code == 200
    assert len(behind.seen) == 1 and post(gate, data=b"next").status_code == 200


# -------------------------------------------------------------------------------------------- what comes back


DIED = (507, {}, b'{"code": 507, "type": "InternalServerException", "message": "Worker died."}')
BROKE = (500, {}, b'{"code": 500, "type": "InternalServerException", "message": "Worker died."}')
GOOD = (200, {"ImageTrust-Else": "kept"}, b'{"label":"real"}')
FULL = (503, {}, b'{"code": 503, "type": "ServiceUnavailableException"}')
REFUSED = (400, MARKED, MARKED["ImageTrust-Error"].encode())
INTERNAL = (500, {"ImageTrust-Error": '{"error":{"code":"internal","message":"m"}}'}, b"{}")
KEY = (400, {}, b'{"code": 400, "type": "InvalidKeyException"}')
GONE = (404, {}, b'{"code": 404, "type": "ModelNotFoundException"}')
FORM = {"Content-Type": "multipart/form-data; boundary=x"}


@needs_nginx
@pytest.mark.parametrize(
    ("script", "headers", "status", "code", "asked"),
    [
        ([GOOD], {}, 200, None, 1),
        ([DIED, GOOD], {}, 200, None, 2),
        ([BROKE, GOOD], {}, 200, None, 2),
        ([None, GOOD], {}, 200, None, 2),
        ([DIED, REFUSED], {}, 400, "broken_picture", 2),
        ([DIED, DIED, GOOD], {}, 503, "unavailable", 2),
        ([BROKE, None, GOOD], {}, 503, "unavailable", 2),
        ([None, None, GOOD], {}, 503, "unavailable", 2),
        ([DIED, FULL], {}, 503, "busy", 2),
        ([FULL, GOOD], {}, 503, "busy", 1),
        ([REFUSED], {}, 400, "broken_picture", 1),
        ([INTERNAL, GOOD], {}, 500, "internal", 1),
        ([DIED, INTERNAL], {}, 500, "internal", 2),
        ([KEY, GOOD], {}, 503, "unavailable", 1),
        ([GONE], {}, 404, "unknown_model", 1),
        ([BROKE, BROKE], FORM, 400, "invalid_form", 2),
        ([BROKE, GOOD], FORM, 200, None, 2),
        ([DIED, None], FORM, 503, "unavailable", 2),
    ],
)  # fmt: skip
def test_what_a_dying_worker_drops_is_asked_again_once(make_gate, behind, script, headers, status, code, asked):
    gate = make_gate()
    behind.script += script
    body = os.urandom(1_500_000)
    answer = post(gate, data=body, headers=headers)
    assert answer.status_code == status, answer.text
    if code:
        assert code_of(answer) == code
        assert ("Retry-After" in answer.headers) == (status == 503)
    else:
        assert answer.content == GOOD[2] and answer.headers["ImageTrust-Else"] == "kept"
    assert "ImageTrust-Error" not in answer.headers
    assert [seen for _, _, seen in behind.seen] == [body] * asked
    assert len({seen["X-Request-Id"] for _, seen, _ in behind.seen}) == 1


@needs_nginx
def test_a_worker_that_took_all_its_time_is_not_followed_by_a_second(make_gate, behind, monkeypatch):
    gate = make_gate()
    config = gate.folder / "nginx.conf"
    original = config.read_text()
    # "30 s or more" is a pattern of the configuration; here it begins at 1 s.
    faster = original.replace("(?:[3-9][0-9]|[0-9]{3,})[.]", "[1-9][.]")
    assert faster != original
    config.write_text(faster)
    gate.process.send_signal(1)
    time.sleep(0.5)
    behind.script += [lambda body: (time.sleep(1.2), BROKE)[1], GOOD]
    answer = post(gate, data=b"picture")
    assert (answer.status_code, code_of(answer)) == (503, "unavailable") and len(behind.seen) == 1


@needs_nginx
def test_a_server_that_is_gone(make_gate, behind):
    gate = make_gate()
    behind.shutdown()
    behind.socket.close()
    answer = post(gate, data=b"picture")
    assert (answer.status_code, code_of(answer), answer.headers["Retry-After"]) == (503, "unavailable", "5")
    assert requests.get(f"http://{gate.settings.rest}/health/live", timeout=9).json() == {"status": "live"}


@needs_nginx
def test_pipelined_requests_come_back_in_order(make_gate, behind):
    gate = make_gate()

    def answer(body: bytes) -> tuple:
        time.sleep(0.1 if int(body) % 2 else 0)
        return 200, {}, b"<" + body + b">"

    behind.script += [answer] * 20
    requests_sent = b"".join(head(f"Content-Length: {len(str(n))}") + str(n).encode() for n in range(20))
    received = sent_raw(gate, requests_sent, seconds=3)
    assert [received.find(f"<{n}>".encode()) >= 0 for n in range(20)] == [True] * 20
    places = [received.find(f"<{n}>".encode()) for n in range(20)]
    assert all(one < two for one, two in pairwise(places))


@needs_nginx
def test_a_canary_gets_its_share(make_gate, behind):
    address = f"127.0.0.1:{behind.server_port}"
    gate = make_gate(Behind((address,), (address,), "t", canaries={"authenticity": ("0.5", 30.0)}))
    with requests.Session() as session:
        for _ in range(150):
            assert post(gate, session=session, data=b"p", headers={"X-Request-Id": "same"}).status_code == 200
    paths = Counter(path for path, _, _ in behind.seen)
    assert set(paths) == {PATH, f"{PATH}/0.5"} and 20 < paths[f"{PATH}/0.5"] < 75
    for path in (f"{PATH}/0.3", "/predictions/explanation"):
        post(gate, path, data=b"p")
        assert behind.seen[-1][0] == path


@needs_nginx
def test_one_machine_of_two_is_gone(make_gate, behind, callers):
    """A gate before gates passes on what they answer, and asks the other one where one is gone or not ready."""
    (dead,) = free_ports(1)
    addresses = (f"127.0.0.1:{dead}", f"127.0.0.1:{behind.server_port}")
    gate = make_gate(Behind(addresses, addresses, TOKEN, are_gates=True))
    behind.script += [GOOD] * 10 + [REFUSED, (429, {"Retry-After": "1"}, b'{"error":{"code":"too_many_requests"}}')]
    assert [post(gate, data=b"p").status_code for _ in range(12)] == [200] * 10 + [400, 429]


@needs_nginx
def test_two_machines_share_the_load_and_one_of_them_dies(make_gate, callers):
    """While it lives each has its part. From its end on, in the middle of requests, none fails."""
    with scripted() as one, scripted() as other, ThreadPoolExecutor(4) as pool:
        addresses = tuple(f"127.0.0.1:{machine.server_port}" for machine in (one, other))
        gate = make_gate(Behind(addresses, addresses, TOKEN, are_gates=True))
        ask = lambda _: post(gate, data=b"p").status_code  # noqa: E731
        assert Counter(pool.map(ask, range(60))) == {200: 60}
        assert len(one.seen) + len(other.seen) == 60 and min(len(one.seen), len(other.seen)) > 15
        under_way = [pool.submit(ask, 0) for _ in range(30)]
        one.script[:] = [None] * 1000  # what it has begun breaks off
        one.shutdown()
        one.socket.close()
        assert Counter(each.result() for each in under_way) == {200: 30}
        before = len(one.seen)
        assert Counter(pool.map(ask, range(60))) == {200: 60}
        assert len(one.seen) <= before + 4


# -------------------------------------------------------------------------------------------- names, log, CORS, health


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@needs_nginx
@pytest.mark.parametrize(
    ("sent", "expected", "parent"),
    [
        ({}, None, None),
        ({"X-Request-Id": "order-7.a:b_C"}, "order-7.a:b_C", None),
        ({"X-Request-Id": "a" * 65}, None, None),
        ({"X-Request-Id": 'a"b'}, None, None),
        ({"X-Request-Id": "a b"}, None, None),
        ({"traceparent": PARENT}, TRACE, PARENT),
        ({"traceparent": PARENT, "X-Request-Id": "mine"}, "mine", PARENT),
        ({"traceparent": PARENT.upper()}, None, None),
        ({"traceparent": f"00-{'0' * 32}-00f067aa0ba902b7-01"}, None, None),
        ({"traceparent": f"{PARENT}-more"}, None, None),
    ],
)  # fmt: skip
def test_a_request_has_one_name_everywhere(make_gate, behind, sent, expected, parent):
    gate = make_gate()
    name = post(gate, data=b"p", headers=sent).headers["X-Request-Id"]
    assert name == expected if expected else len(name) == 32
    ((_, headers, _),) = behind.seen
    assert headers["X-Request-Id"] == name and headers.get("traceparent") == parent
    (line,) = log_of(gate)
    assert line["id"] == name and line["trace"] == (TRACE if parent else "")


@needs_nginx
def test_the_logs_hold_no_query_no_token_and_no_picture(make_gate, behind):
    gate = make_gate(body_bytes=2000)
    secret = "SECRETSECRETSECRETSECRET"
    behind.script += [None, None]
    post(gate, data=secret.encode() * 10)
    post(gate, f"{PATH}?token={secret}", data=b"p")
    post(gate, f"{PATH}?token={secret}", data=bytes(3000))
    post(gate, token=secret, data=b"p", headers={"Cookie": secret, "User-Agent": secret, "Referer": secret})
    sent_raw(gate, head("Content-Length: 1", "Content-Length: 2", path=f"{PATH}?{secret}"))
    lines = log_of(gate)
    assert [(line["status"], line["caller"]) for line in lines] == [
        (503, "alice"), (400, "alice"), (413, "alice"), (401, ""), (400, "alice"),
    ]  # fmt: skip
    assert {line["path"] for line in lines} == {PATH} and {line["method"] for line in lines} == {"POST"}
    assert lines[0]["behind_status"] == "502 : 502"
    for path in (gate.folder / "logs").iterdir():
        text = path.read_text()
        assert secret not in text and TOKEN not in text and "behindtoken" not in text


@needs_nginx
def test_the_log_is_bounded(make_gate):
    gate = make_gate()
    for _ in range(5):
        post(gate, data=b"p")
    gate.bound_logs(100)
    deadline = time.monotonic() + 5
    while not gate.access_log.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert len(gate.access_log.with_suffix(".log.1").read_text().splitlines()) == 5
    post(gate, data=b"p")
    assert len(log_of(gate)) == 1
    gate.bound_logs(10_000)
    assert len(log_of(gate)) == 1


@needs_nginx
def test_pages_of_named_origins_may_ask(make_gate, behind):
    gate = make_gate(origins=[ORIGIN])
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST",
             "Access-Control-Request-Headers": "authorization,content-type,imagetrust-detail"}  # fmt: skip
    preflight = requests.options(f"http://{gate.settings.rest}{PATH}", headers=asked, timeout=9)
    assert preflight.status_code == 204 and preflight.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert preflight.headers["Access-Control-Allow-Methods"] == "POST"
    allowed = preflight.headers["Access-Control-Allow-Headers"].lower()
    assert all(name in allowed for name in ("authorization", "content-type", "imagetrust-detail", "x-request-id"))
    assert not behind.seen
    behind.script += [GOOD, REFUSED, DIED, DIED, GOOD]
    for status in (200, 400, 503):
        answer = post(gate, data=b"p", headers={"Origin": ORIGIN})
        assert answer.status_code == status and answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "X-Request-Id" in answer.headers["Access-Control-Expose-Headers"] and answer.headers["Vary"] == "Origin"
    for other in ("https://evil.example.com", f"{ORIGIN}.evil.com", "null", f"{ORIGIN}:8443"):
        assert "Access-Control-Allow-Origin" not in post(gate, data=b"p", headers={"Origin": other}).headers


@needs_nginx
def test_health_without_a_token(make_gate):
    gate = make_gate()
    url = f"http://{gate.settings.rest}/health"
    assert requests.get(f"{url}/live", timeout=9).status_code == 200
    for ready in (False, True, True, False):
        gate.set_ready(ready)
        answer = requests.get(f"{url}/ready", timeout=9)
        assert answer.status_code == (200 if ready else 503)
        assert answer.json() == {"status": "ready"} if ready else code_of(answer) == "not_ready"
    assert not log_of(gate)


@needs_nginx
def test_tls_on_both_ports(make_gate, folder):
    certificate, key = self_signed(folder / "tls", "127.0.0.1")
    gate = make_gate(certificate=str(certificate), certificate_key=str(key))
    url = f"https://{gate.settings.rest}"
    assert requests.get(f"{url}/health/live", verify=certificate, timeout=9).status_code == 200
    plain = requests.get(f"http://{gate.settings.rest}/health/live", timeout=9)
    assert (plain.status_code, code_of(plain)) == (400, "bad_request")
    host, _, port = gate.settings.grpc.rpartition(":")
    context = ssl.create_default_context(cafile=certificate)
    context.set_alpn_protocols(["h2"])
    with context.wrap_socket(socket.create_connection((host, int(port)), 5), server_hostname=host) as opened:
        assert opened.selected_alpn_protocol() == "h2"


# -------------------------------------------------------------------------------------------- start, reload, stop


@needs_nginx
def test_tokens_change_under_load_and_nothing_is_lost(make_gate, callers):
    """Two tokens of one name are valid at once; the old one ends when it leaves the file."""
    gate = make_gate()
    done, statuses = threading.Event(), Counter()

    def ask() -> None:
        with requests.Session() as session:
            while not done.is_set():
                statuses[post(gate, session=session, token=OTHER, data=bytes(50_000)).status_code] += 1

    with ThreadPoolExecutor(6) as pool:
        asking = [pool.submit(ask) for _ in range(6)]
        try:
            assert not gate.reload()
            for text, old, new in (
                (f"alice {TOKEN}\nalice {SECOND}\nbob {OTHER}\n", 200, 200),
                (f"alice {SECOND}\nbob {OTHER}\n", 401, 200),
                (f"alice {TOKEN}\nbob {OTHER}\n", 200, 401),
            ):
                callers.write_text(text)
                assert gate.reload()
                time.sleep(0.5)
                assert post(gate, data=b"p").status_code == old
                assert post(gate, token=SECOND, data=b"p").status_code == new
        finally:
            done.set()
        for each in asking:
            each.result()
    assert set(statuses) == {200} and statuses[200] > 100


@needs_nginx
def test_a_request_under_way_ends_where_the_gate_stops(make_gate, behind):
    gate = make_gate()
    behind.script.append(lambda body: (time.sleep(1), GOOD)[1])
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(post, gate, data=b"p")
        while not behind.seen:
            time.sleep(0.01)
        assert gate.stop()
        assert asked.result().status_code == 200
    assert not gate.is_running() and not gate.stop()
    with pytest.raises(requests.ConnectionError):
        post(gate, data=b"p")


@needs_nginx
def test_it_starts_once_and_leaves_nothing(make_gate, folder):
    gate = make_gate()
    family = [gate.process, *gate.process.children()]
    assert len(family) >= 2
    assert post(gate, data=b"p").status_code == 200
    if os.geteuid() == 0:
        assert all(process.username() != "root" for process in family[1:])
    with pytest.raises(GateError, match="already runs"):
        gate.start()
    assert Gate(gate.folder, gate.settings, lambda: None).process == gate.process
    gate.stop()
    assert not [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    with pytest.raises(GateError, match="no gate runs"):
        gate.reload()


@needs_nginx
@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests of this file run without root already")
def test_it_needs_no_root(folder):
    """A body that goes to the disk, readiness and a reload, in a process that has given root away."""
    open_for_workers(folder).chmod(0o777)
    nobody, (rest, grpc) = 65534, free_ports(2)
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setgid(nobody)
            os.setuid(nobody)
            token = add_token(folder / "callers", "alice")
            changes = {"callers": str(folder / "callers"), "rest": f"127.0.0.1:{rest}", "grpc": f"127.0.0.1:{grpc}"}
            nothing = Behind(("127.0.0.1:1",), ("127.0.0.1:2",), "t")
            own = Gate(folder / "gate", read_settings(changes=changes), lambda: nothing)
            own.start()
            assert own.process.username() != "root"
            assert code_of(post(own, token=token, data=bytes(3_000_000))) == "unavailable"
            own.set_ready(True)
            assert requests.get(f"http://{own.settings.rest}/health/ready", timeout=9).status_code == 200
            second = add_token(folder / "callers", "bob")
            assert own.reload(0.1) and code_of(post(own, token=second, data=b"p")) == "unavailable"
            assert own.stop(5)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


@needs_nginx
def test_a_taken_port_is_named(make_gate, folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(GateError, match=r"(?s)does not start.*in use"):
            make_gate(rest=address)


@needs_nginx
def test_idle_and_dripping_connections_harm_nobody(make_gate, behind):
    """1,000 that say nothing and 100 that drip bodies beside one that asks; what they take ends with their time."""
    gate = make_gate(sender_seconds=2, requests_at_once=200, large_requests_at_once=200)
    host, _, port = gate.settings.rest.rpartition(":")
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(1000)]
        for dripping in opened[:100]:
            dripping.sendall(head("Content-Length: 100000") + b"x")
        begin = time.monotonic()
        assert [post(gate, token=OTHER, data=b"p").status_code for _ in range(20)] == [200] * 20
        assert time.monotonic() - begin < 5
        time.sleep(3)
        assert post(gate, data=b"p").status_code == 200
        opened[0].settimeout(3)
        with contextlib.suppress(ConnectionResetError):
            assert opened[0].recv(10) == b""
    assert len(behind.seen) == 21


@needs_nginx
def test_a_body_that_never_ends_is_ended(make_gate, behind):
    """nginx bounds the time between two parts alone. Others lose nothing by it: answers end their connections."""
    gate = make_gate(connection_seconds=1, answer_seconds=2)
    host, _, port = gate.settings.rest.rpartition(":")
    ended, closing = [], 0
    with socket.create_connection((host, int(port))) as dripping, requests.Session() as session:
        dripping.sendall(head("Content-Length: 100000"))
        dripping.settimeout(0.05)
        begin = time.monotonic()
        while not ended or time.monotonic() - ended[-1] < 3:
            if gate.end_dripping():
                ended.append(time.monotonic())
            answer = post(gate, session=session, token=OTHER, data=b"p")
            assert answer.status_code == 200
            closing += answer.headers.get("Connection") == "close"
            with contextlib.suppress(TimeoutError):
                try:
                    dripping.sendall(b"x")
                    assert dripping.recv(10) == b""
                    break
                except ConnectionError:
                    break
            assert time.monotonic() - begin < 15
        else:
            pytest.fail("it drips on")
    assert len(ended) == 1 and ended[0] - begin > 2 and closing
    assert {body for _, _, body in behind.seen} == {b"p"}, "what drips is never passed on"


@needs_nginx
def test_a_connection_with_the_port_of_one_before_it_is_a_new_one(make_gate):
    """Between two searches one may have ended and the next begun."""
    at_once = struct.pack("ii", 1, 0)  # its port is free as soon as it is closed
    gate = make_gate(connection_seconds=1)
    host, _, port = gate.settings.rest.rpartition(":")
    source, begin = ("127.0.0.1", free_ports(1)[0]), time.monotonic()
    while time.monotonic() - begin < 3:
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
            connection.bind(source)
            connection.connect((host, int(port)))
            time.sleep(0.1)
            assert gate.end_dripping() == 0
