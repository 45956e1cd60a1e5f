"""What the supervisor tells Prometheus: of itself, of the gate's log, of the machine."""

import datetime
import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import requests
from cryptography import x509

from server.desired import Desired, Model, Served
from server.gate import self_signed
from server.instance import ServerError, free_ports
from server.metrics import METRICS, GateLog, Metrics, answering, look_at_machine

needs_promtool = pytest.mark.skipif(
    not shutil.which("promtool"), reason="needs promtool, of Debian's package prometheus (apt-get install prometheus)"
)


def line(path: str = "/predictions/authenticity", status: int = 200, seconds: float = 0.02, **more: str) -> str:
    described = {
        "id": "a",
        "caller": "alice",
        "path": path,
        "status": status,
        "seconds": seconds,
        "behind_status": "200",
    }
    return json.dumps(described | more) + "\n"


@pytest.fixture
def log(tmp_path) -> Path:
    return tmp_path / "access.log"


def value(metrics: Metrics, sample: str) -> float | None:
    found = [text for text in metrics.text().splitlines() if text.startswith(f"{sample} ")]
    return float(found[0].rpartition(" ")[2]) if found else None


def test_the_gates_log_is_counted_by_status_and_route(log):
    log.write_text(line() * 5)  # of before
    reader, metrics = GateLog(log), Metrics()
    with log.open("a") as file:
        file.write(line() * 3 + line(status=429, seconds=0.0) + line("/v2/models/x/infer", 400, 0.3))
        file.write(
            line("/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions", behind_status="500 : 200")
        )
        file.write(line("/etc/passwd", 404) + "{half a li")
    reader.read(metrics)
    requests_of = "imagetrust_gate_requests_total"
    assert value(metrics, f'{requests_of}{{route="predictions",status="200"}}') == 3
    assert value(metrics, f'{requests_of}{{route="predictions",status="429"}}') == 1
    assert value(metrics, f'{requests_of}{{route="v2",status="400"}}') == 1
    assert value(metrics, f'{requests_of}{{route="grpc",status="200"}}') == 1
    assert value(metrics, f'{requests_of}{{route="other",status="404"}}') == 1
    assert value(metrics, "imagetrust_gate_retries_total") == 1
    assert value(metrics, 'imagetrust_gate_seconds_bucket{route="predictions",le="0.01"}') == 1
    assert value(metrics, 'imagetrust_gate_seconds_bucket{route="predictions",le="0.025"}') == 4
    assert value(metrics, 'imagetrust_gate_seconds_count{route="predictions"}') == 4
    with log.open("a") as file:  # the rest of the line that was half written is no line of ours
        file.write("ne}\n" + line())
    reader.read(metrics)
    assert value(metrics, f'{requests_of}{{route="predictions",status="200"}}') == 4


def test_a_log_that_is_begun_anew_is_read_to_its_end_first(log):
    reader, metrics = GateLog(log), Metrics()
    log.write_text(line())
    reader.read(metrics)
    with log.open("a") as file:
        file.write(line() * 2)
    log.rename(log.with_suffix(".log.1"))
    log.write_text(line() * 4)
    reader.read(metrics)
    assert value(metrics, 'imagetrust_gate_requests_total{route="predictions",status="200"}') == 7


def test_callers_beyond_the_limit_share_a_line(log):
    reader, metrics = GateLog(log), Metrics()
    log.write_text("".join(line(caller=f"caller-{number}") for number in range(80)) + line(caller=""))
    reader.read(metrics)
    samples = [
        text for text in metrics.text().splitlines() if text.startswith("imagetrust_gate_caller_requests_total{")
    ]
    assert len(samples) == 51
    assert value(metrics, 'imagetrust_gate_caller_requests_total{caller="other",status="200"}') == 31


def test_workers_of_what_shall_be_served(tmp_path):
    desired = Desired(["a"], {"authenticity": Model("0.3", {"0.3": Served("a", "b"), "0.4": Served("c", "d")}, ())})
    described = {
        "workers": [{"status": "READY", "pid": 7}, {"status": "UNLOADING", "pid": 8}],
        "minWorkers": 2,
        "jobQueueStatus": {"pendingRequests": 3},
    }
    metrics = Metrics()
    metrics.saw(desired, {"authenticity": {"0.3": described}})
    labels = '{model_name="authenticity",model_version="0.3"}'
    assert value(metrics, f"imagetrust_workers_ready{labels}") == 1
    assert value(metrics, f"imagetrust_workers_wanted{labels}") == 2
    assert value(metrics, f"imagetrust_queued_requests{labels}") == 3
    assert value(metrics, f"imagetrust_workers_ready{labels.replace('0.3', '0.4')}") == 0
    metrics.saw(desired, {})
    assert value(metrics, f"imagetrust_workers_ready{labels}") == 0


def test_the_certificate_is_that_of_the_gates_configuration(tmp_path):
    metrics = Metrics()
    look_at_machine(metrics, tmp_path)
    assert value(metrics, "imagetrust_certificate_expiry_timestamp_seconds") is None
    assert 0 < value(metrics, "imagetrust_disk_free_bytes") < value(metrics, "imagetrust_disk_size_bytes")
    certificate, _ = self_signed(tmp_path, "localhost")
    (tmp_path / "gate").mkdir()
    (tmp_path / "gate" / "nginx.conf").write_text(f'http {{\n    ssl_certificate "{certificate}";\n}}\n')
    look_at_machine(metrics, tmp_path)
    ends = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    assert value(metrics, "imagetrust_certificate_expiry_timestamp_seconds") == ends.timestamp()
    assert ends > datetime.datetime.now(datetime.UTC)
    certificate.write_text("broken")
    look_at_machine(metrics, tmp_path)
    assert value(metrics, "imagetrust_certificate_expiry_timestamp_seconds") is None


def test_it_answers_on_loopback_alone():
    (port,) = free_ports(1)
    with answering(Metrics(), f"http://127.0.0.1:{port}"):
        answer = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5)
        assert answer.status_code == 200 and "imagetrust_restarts_total" in answer.text
        assert requests.get(f"http://127.0.0.1:{port}/", timeout=5).status_code == 404
        assert requests.post(f"http://127.0.0.1:{port}/metrics", timeout=5).status_code == 501
        with pytest.raises(ServerError, match="taken"), answering(Metrics(), f"http://127.0.0.1:{port}"):
            pass
    for url in ("http://0.0.0.0:8083", "http://192.0.2.1:8083", "http://:8083"):
        with pytest.raises(ServerError, match="loopback"), answering(Metrics(), url):
            pass


@needs_promtool
def test_promtool_accepts_the_text(log):
    metrics = Metrics()
    reader = GateLog(log)
    log.write_text(line() + line(caller='a"b\\\n'))
    reader.read(metrics)
    for name, (kind, labels, _) in METRICS.items():
        if kind == "gauge":
            metrics.set(name, time.time(), *("x" for _ in labels))
    checked = subprocess.run(["promtool", "check", "metrics"], input=metrics.text(), capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
