"""A real HTTP server that plays what a test tells it, failures included."""

import contextlib
import http.server
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Play:
    """One reply. body: JSON, or bytes as they are. delay: seconds before it. reset: break the connection instead.

    drip: seconds between two bytes of the body.
    """

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0
    reset: bool = False
    drip: float = 0


@dataclass
class Player:
    """What was asked, and what is to be said: the plays in order, the last one for ever, or what a function returns."""

    address: str
    plays: list[Play] | Callable[[dict[str, Any]], Play]
    seen: list[dict[str, Any]] = field(default_factory=list)
    connections: int = 0

    def next(self, request: dict[str, Any]) -> Play:
        self.seen.append(request)
        if callable(self.plays):
            return self.plays(request)
        return self.plays.pop(0) if len(self.plays) > 1 else self.plays[0]


def play(context: ssl.SSLContext | None = None) -> tuple[Player, http.server.ThreadingHTTPServer]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            player.connections += 1
            super().setup()

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            played = player.next({"method": self.command, "path": self.path, "headers": headers, "body": body})
            time.sleep(played.delay)
            if played.reset:
                # Without lingering, so that the other side sees a reset and no orderly end.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
                return
            content = played.body if isinstance(played.body, bytes) else json.dumps(played.body).encode()
            self.send_response(played.status)
            for name, value in ({"Content-Length": str(len(content))} | played.headers).items():
                self.send_header(name, value)
            self.end_headers()
            if played.drip:
                for byte in content:
                    self.wfile.write(bytes([byte]))
                    time.sleep(played.drip)
            else:
                self.wfile.write(content)

        do_GET = do_POST = answer

        def handle(self) -> None:
            try:
                super().handle()
            except (OSError, ValueError):
                self.close_connection = True

        def finish(self) -> None:
            with contextlib.suppress(OSError, ValueError):
                super().finish()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    player = Player(f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}", [Play()])
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return player, server
