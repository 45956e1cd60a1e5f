"""The closed-loop client."""

import http.server
import threading

import pytest

from benchmarks.client import HttpConnection, RequestFailed, closed_loop


def test_every_request_is_sent_once_and_timed():
    seen = []

    def send(image: bytes) -> bytes:
        seen.append(image)
        return image.upper()

    load = closed_loop(lambda: send, [b"a", b"b"], requests=7, concurrency=3)
    assert sorted(seen) == [b"a"] * 4 + [b"b"] * 3
    assert len(load.latencies) == 7 and load.answer == b"A" and load.seconds >= max(load.latencies)


def test_a_request_that_fails_ends_the_run():
    def send(image: bytes) -> bytes:
        raise RequestFailed("503")

    with pytest.raises(RequestFailed):
        closed_loop(lambda: send, [b"a"], requests=5, concurrency=2)


class Echo(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        received = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200 if self.path == "/good" else 503)
        self.send_header("Content-Length", str(len(received)))
        self.end_headers()
        self.wfile.write(received)

    def log_message(self, *_):
        pass


def test_a_connection_tells_failure_from_success():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        assert HttpConnection(listening.server_port, "/good", {})(b"bytes") == b"bytes"
        form = HttpConnection(listening.server_port, "/good", {}, "file")(b"bytes")
        assert b'name="file"' in form and b"\r\n\r\nbytes\r\n" in form
        with pytest.raises(RequestFailed, match="503"):
            HttpConnection(listening.server_port, "/full", {})(b"bytes")
        listening.shutdown()
