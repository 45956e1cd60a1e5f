"""A host on this machine that keeps manifests, and misbehaves where a path asks it to."""

import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.provenance.files import CAPTURE, sign

_DRIP = 0.05  # seconds between bytes: within any time-out of a socket


class ManifestHost(ThreadingHTTPServer):
    """Counts who connects and keeps what they ask for, answered or not.

    certificate: a PEM file with certificate and key; with one, the host speaks TLS.
    """

    daemon_threads = True

    def __init__(self, certificate: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.kept: dict[str, bytes] = {}
        self.connections = 0
        self.scheme = "https" if certificate else "http"
        self.requests: list[tuple[str, dict[str, str]]] = []
        self._changed = threading.Condition()
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            # The handshake belongs to the request's thread, so that one that fails leaves the host up.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def port(self) -> int:
        return self.server_address[1]

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.name}"

    def keep(self, source_type: str | None = CAPTURE, image_format: str = "JPEG", **options) -> bytes:
        """Keeps the manifest of a file that is signed with the options of files.sign; returns the file."""
        url = f"{self.origin}/manifest.c2pa"
        data, self.kept["manifest.c2pa"] = sign(source_type, image_format, remote_url=url, **options)
        return data

    def get_request(self):
        accepted = super().get_request()
        with self._changed:
            self.connections += 1
            self._changed.notify_all()
        return accepted

    def connected(self, within: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.connections > 0, within)

    def handle_error(self, request, client_address) -> None:
        """Callers that give up are what the tests are about."""

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class _Answers(BaseHTTPRequestHandler):
    server: ManifestHost

    def do_GET(self) -> None:
        self.server.requests.append((self.path, dict(self.headers)))
        kind = self.path.strip("/").partition("?")[0]
        if kind in self.server.kept:
            self._send(200, self.server.kept[kind])
        elif kind == "silent":
            time.sleep(30)
        elif kind == "dripping-header":
            self._drip(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 4000)
        elif kind == "dripping-body":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n")
            self._drip(b"x" * 4000)
        elif kind == "announced-large":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
            time.sleep(30)  # without a body, so that only the header can tell
        elif kind == "endless":
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                self.wfile.write(b"x" * 65536)
        elif kind == "cut-off":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\nshort")
        elif kind == "no-http":
            self.wfile.write(b"SSH-2.0-OpenSSH\r\n")
        elif kind.startswith("redirect-"):
            self.send_response(int(kind[9:12]))
            self.send_header("Location", kind[13:])
            self.end_headers()
        else:
            self._send(404, b"no such manifest")

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _drip(self, content: bytes) -> None:
        for byte in content:
            self.wfile.write(bytes([byte]))
            time.sleep(_DRIP)

    def log_message(self, format, *arguments) -> None:
        pass
