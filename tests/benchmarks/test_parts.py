"""What the benchmarks are made of, without a server."""

import http.server
import io
import threading
import time

import pytest
from PIL import Image

from benchmarks import sweep
from benchmarks.load import HttpConnection, RequestFailed, drive
from benchmarks.measure import Measured, Task, interleave
from benchmarks.peers.base import Contender, Server
from benchmarks.pictures import SIZES, pictures
from benchmarks.stages import Stopwatch


@pytest.mark.parametrize("size", SIZES.values())
def test_pictures_have_the_size_asked_for_and_detail_to_decode(size):
    for data in pictures(size):
        with Image.open(io.BytesIO(data)) as image:
            assert (image.size, image.format) == (size, "JPEG")
        assert len(data) * 8 / (size[0] * size[1]) > 0.9, "bits a pixel: as blurred as this, decoding would be cheap"


def test_every_request_is_sent_once_and_timed(tmp_path):
    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        file.write_bytes(file.name.encode())
    seen = []

    def ask(picture: bytes) -> bytes:
        seen.append(picture)
        return picture.upper()

    load = drive(lambda: ask, files, requests=7, concurrency=3)
    assert sorted(seen) == [b"a"] * 4 + [b"b"] * 3
    assert len(load.latencies) == 7
    assert load.answer == b"A"


def test_a_request_that_fails_ends_the_run(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"a")

    def ask(picture: bytes) -> bytes:
        raise RequestFailed("503")

    with pytest.raises(RequestFailed):
        drive(lambda: ask, [file], requests=5, concurrency=2)


class Refusing(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        received = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200 if self.path == "/good" else 503)
        self.send_header("Content-Length", str(len(received)))
        self.end_headers()
        self.wfile.write(received)

    def log_message(self, *_):
        pass


def test_a_connection_tells_failure_from_success():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        assert HttpConnection(listening.server_port, "/good", {})(b"bytes") == b"bytes"
        assert b'name="file"' in HttpConnection(listening.server_port, "/good", {}, "file")(b"bytes")
        with pytest.raises(RequestFailed, match="503"):
            HttpConnection(listening.server_port, "/full", {})(b"bytes")
        listening.shutdown()


class Nothing(Server):
    """A server without processes."""

    def start(self, folder, conditions):
        pass

    def stop(self):
        pass

    def roots(self):
        return []


def test_blocks_are_interleaved_and_the_first_is_not_counted(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"a")
    order = []

    def contender(name: str) -> Contender:
        def load(paths, requests, concurrency):
            order.append(name)
            return drive(lambda: lambda picture: picture, paths, requests, concurrency)

        return Contender(name, Nothing(), load, lambda answer: {})

    names = ["one", "two", "three"]
    task = Task("small", [file], [contender(name) for name in names], requests=3)
    measured = interleave([task], blocks=2, concurrency=1, report=lambda line: None)
    assert len(order) == 9
    assert all(set(order[start : start + 3]) == set(names) for start in (0, 3, 6))
    assert {name: len(row.cpu_ms) for name, row in measured["small"].items()} == dict.fromkeys(names, 2)
    assert len(measured["small"]["one"].latencies) == 6


def burn(seconds: float) -> None:
    start = time.process_time()
    while time.process_time() - start < seconds:
        pass


def test_a_stage_inside_another_is_counted_once():
    watch = Stopwatch()
    inner = watch.timed("inner", lambda: burn(0.04))

    def outer():
        burn(0.01)
        inner()

    watch.timed("outer", outer)()
    assert watch.seconds["inner"] == pytest.approx(0.04, abs=0.01)
    assert watch.seconds["outer"] == pytest.approx(0.01, abs=0.01)


def test_a_sweep_names_the_knee_and_says_where_there_is_no_gpu():
    def measured(rate: float, latency: float) -> dict:
        return vars(Measured(cpu_ms=[12.0], requests_per_second=[rate], latencies=[latency]))

    result = {
        "conditions": {"date": "today"},
        "settings": {"batch 8": {"1": measured(20, 0.05), "8": measured(59, 0.14), "64": measured(60, 1.1)}},
        "gpu": None,
    }
    text = sweep.as_markdown(result)
    assert "| batch 8 | 8 | 59.0 | 140 | 140 | 140 | 12.0 | 60.0 | 1100 |" in text
    assert "No GPU here" in text
    assert sweep.plot(result).axes


def test_a_sweep_shows_how_much_of_a_gpu_is_used():
    part = {"pictures_per_second": 900.0, "device_used": 0.25, "device_mib": 2048.0}
    result = {"conditions": {}, "settings": {}, "gpu": {256: {"whole": part, "inference": part}}}
    assert "| 256 | 900 | 25% | 2048 | 900 | 25% | 2048 |" in sweep.as_markdown(result)
