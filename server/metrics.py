"""What the supervisor and the gate's access log tell Prometheus: on loopback, without a token, as TorchServe does.

nginx counts no status codes itself (stub_status), and Debian has no exporter of its logs: its log of JSON has all that
is needed. docs/operations.md says what each metric is for.
"""

import contextlib
import json
import os
import re
import shutil
import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from cryptography import x509

from server.desired import Desired
from server.instance import ServerError
from server.management import ready_workers

# By name: kind, labels, help.
METRICS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "imagetrust_ready": ("gauge", (), "1 while every default version answers as it should"),
    "imagetrust_restarts_total": ("counter", ("program",), "restarts of a program that had ended"),
    "imagetrust_repairs_total": ("counter", (), "times that workers which TorchServe gave up were started anew"),
    "imagetrust_workers_ready": ("gauge", ("model_name", "model_version"), "workers that have loaded and live"),
    "imagetrust_workers_wanted": ("gauge", ("model_name", "model_version"), "workers that there should be"),
    "imagetrust_queued_requests": ("gauge", ("model_name", "model_version"), "requests that wait for a worker"),
    "imagetrust_queue_size": ("gauge", (), "requests that may wait for one model"),
    "imagetrust_self_test_timestamp_seconds": (
        "gauge", ("model_name", "model_version"), "when a version last answered its self-test as it should",
    ),
    "imagetrust_certificate_expiry_timestamp_seconds": ("gauge", (), "when the gate's certificate ends"),
    "imagetrust_disk_free_bytes": ("gauge", (), "free space where logs and waiting bodies lie"),
    "imagetrust_disk_size_bytes": ("gauge", (), "size of that disk"),
    "imagetrust_gate_requests_total": ("counter", ("route", "status"), "requests at the gate"),
    "imagetrust_gate_caller_requests_total": ("counter", ("caller", "status"), "requests at the gate by caller"),
    "imagetrust_gate_retries_total": ("counter", (), "requests that the gate asked again"),
    "imagetrust_gate_seconds": ("histogram", ("route",), "from a request's first byte to its answer's last"),
}  # fmt: skip
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)  # seconds
PROGRAMS = ("torchserve", "gate")
ROUTES = ("predictions", "explanations", "v1", "v2", "grpc", "api-description")  # another path is `other`
_GRPC = "org.pytorch.serve.grpc.inference.InferenceAPIsService"
# Begun at nothing, so that Prometheus sees the first step of each.
STATUSES = ("200", "400", "401", "404", "408", "413", "415", "429", "499", "500", "502", "503", "504")
_MOST_CALLERS = 50  # names that have a line of their own; the operator gives them
_MOST_BYTES = 1_000_000  # of the log that are held at once
_CERTIFICATE = re.compile(r'^\s*ssl_certificate "([^"]+)";', re.MULTILINE)
_SLOWEST = 5.0  # seconds that who asks may take


class Metrics:
    """The values of METRICS, which any thread may read while another changes them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in METRICS}
        # Of a histogram: how many values lie in each bucket and beyond, and their sum.
        self._buckets: dict[str, dict[tuple[str, ...], tuple[list[int], float]]] = {
            name: {} for name, (kind, _, _) in METRICS.items() if kind == "histogram"
        }
        for program in PROGRAMS:
            self.add("imagetrust_restarts_total", program, by=0)
        for route in (*ROUTES, "other"):
            for status in STATUSES:
                self.add("imagetrust_gate_requests_total", route, status, by=0)
        for name in ("imagetrust_repairs_total", "imagetrust_gate_retries_total"):
            self.add(name, by=0)

    def add(self, name: str, *labels: str, by: float = 1) -> None:
        """Count."""
        with self._lock:
            self._values[name][labels] = self._values[name].get(labels, 0) + by

    def set(self, name: str, value: float, *labels: str) -> None:
        """Give a gauge its value."""
        with self._lock:
            self._values[name][labels] = value

    def replace(self, name: str, values: Mapping[tuple[str, ...], float]) -> None:
        """Give a gauge these values alone."""
        with self._lock:
            self._values[name] = dict(values)

    def observe(self, name: str, value: float, *labels: str) -> None:
        """Put a value into a histogram."""
        with self._lock:
            counts, total = self._buckets[name].get(labels) or ([0] * (len(BUCKETS) + 1), 0.0)
            counts[bisect_left(BUCKETS, value)] += 1
            self._buckets[name][labels] = counts, total + value

    def saw(self, desired: Desired, running: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
        """Take the workers and queues of what shall be served. running: what TorchServe says, by model and version."""
        described = {
            (name, version): running.get(name, {}).get(version)
            for name, model in desired.models.items()
            for version in model.versions
        }
        self.replace("imagetrust_workers_ready", {key: ready_workers(one) for key, one in described.items()})
        for metric, value in (
            ("imagetrust_workers_wanted", lambda one: one["minWorkers"]),
            ("imagetrust_queued_requests", lambda one: one["jobQueueStatus"]["pendingRequests"]),
        ):
            self.replace(metric, {key: value(one) for key, one in described.items() if one})

    def text(self) -> str:
        """Return all in Prometheus' text format, version 0.0.4."""
        lines = []
        with self._lock:
            for name, (kind, labels, described) in METRICS.items():
                lines += [f"# HELP {name} {described}", f"# TYPE {name} {kind}"]
                lines += [f"{name}{_labels(labels, key)} {value:.15g}" for key, value in self._values[name].items()]
                for key, (counts, total) in self._buckets.get(name, {}).items():
                    reached = 0
                    for edge, count in zip((*BUCKETS, "+Inf"), counts, strict=True):
                        reached += count
                        lines.append(f"{name}_bucket{_labels((*labels, 'le'), (*key, str(edge)))} {reached}")
                    lines.append(f"{name}_sum{_labels(labels, key)} {total:.15g}")
                    lines.append(f"{name}_count{_labels(labels, key)} {reached}")
        return "\n".join(lines) + "\n"


def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    escaped = (value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for value in values)
    pairs = ",".join(f'{name}="{value}"' for name, value in zip(names, escaped, strict=True))
    return f"{{{pairs}}}" if pairs else ""


class GateLog:
    """Counts the new lines of the gate's access log. Lines of before the first look are not counted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None
        self._rest = b""
        self._callers: set[str] = set()
        if path.exists():
            self._file = path.open("rb")
            self._file.seek(0, 2)

    def read(self, metrics: Metrics) -> None:
        """Count what is new; where the log was begun anew, what is left of the old one first."""
        for _ in range(2):
            while self._file and (data := self._file.read(_MOST_BYTES)):
                *lines, self._rest = (self._rest + data).split(b"\n")
                for line in lines:
                    self._count(line, metrics)
            if not self._open_next():
                return

    def _open_next(self) -> bool:
        """Open the log that nginx writes by now, where that is another one; return whether it is."""
        try:
            now = self.path.stat()
        except FileNotFoundError:
            return False
        if self._file:
            before = os.fstat(self._file.fileno())
            if (now.st_dev, now.st_ino) == (before.st_dev, before.st_ino):
                return False
            self._file.close()
        self._file, self._rest = self.path.open("rb"), b""
        return True

    def _count(self, line: bytes, metrics: Metrics) -> None:
        try:
            read = json.loads(line)
            status, seconds, path = str(int(read["status"])), float(read["seconds"]), str(read["path"])
        except (ValueError, KeyError, TypeError):
            return  # a line that a full disk cut
        route = _route(path)
        metrics.add("imagetrust_gate_requests_total", route, status)
        metrics.observe("imagetrust_gate_seconds", seconds, route)
        if " : " in read.get("behind_status", ""):
            metrics.add("imagetrust_gate_retries_total")
        caller = read.get("caller") or "none"
        if caller not in self._callers and len(self._callers) >= _MOST_CALLERS:
            caller = "other"
        self._callers.add(caller)
        metrics.add("imagetrust_gate_caller_requests_total", caller, status)


def _route(path: str) -> str:
    first = path.split("/", 2)[1] if path.startswith("/") else ""
    return "grpc" if first == _GRPC else first if first in ROUTES else "other"


def look_at_machine(metrics: Metrics, folder: Path) -> None:
    """Take the disk that a server's folder lies on, and the certificate that its gate uses."""
    usage = shutil.disk_usage(folder)
    metrics.set("imagetrust_disk_free_bytes", usage.free)
    metrics.set("imagetrust_disk_size_bytes", usage.total)
    ends = {}
    with contextlib.suppress(OSError, ValueError):
        if named := _CERTIFICATE.search((folder / "gate" / "nginx.conf").read_text()):
            certificate = x509.load_pem_x509_certificate(Path(named[1]).read_bytes())  # the first is the gate's own
            ends[()] = certificate.not_valid_after_utc.timestamp()
    metrics.replace("imagetrust_certificate_expiry_timestamp_seconds", ends)


@contextlib.contextmanager
def answering(metrics: Metrics, url: str) -> Iterator[None]:
    """Answer GET /metrics on an address of loopback meanwhile.

    Raises ServerError for an address beyond it, and for a port that is taken.
    """
    address = urlsplit(url)
    if not address.hostname or not ip_address(address.hostname).is_loopback:
        raise ServerError(f"supervisor_metrics_address must be on loopback, where no token is asked for: {url}")

    class Handler(BaseHTTPRequestHandler):
        timeout = _SLOWEST

        def do_GET(self) -> None:
            body = metrics.text().encode() if self.path == "/metrics" else b""
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Each question is the same: none is logged."""

    try:
        server = ThreadingHTTPServer((address.hostname, address.port or 0), Handler)
    except OSError as error:
        raise ServerError(
            f"port {address.port} is taken by another program; change supervisor_metrics_address in config.properties"
        ) from error
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
