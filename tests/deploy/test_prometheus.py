"""A real Prometheus reads a running server: each query of the dashboard and each recorded figure has data."""

import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import requests
import yaml

from archive_scripts.build import ENDPOINTS, build
from clients.rest import ask
from imagetrust.distributions import EDGES
from server.__main__ import start, stop
from server.gate import Gate, self_signed
from server.gate_config import read_settings
from server.gate_keeper import own_server
from server.instance import TorchServe, free_addresses, free_ports
from tests.procedural import encoded
from tests.server.test_gate import TOKEN, needs_nginx, open_for_workers

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
PATIENCE = 60  # seconds
pytestmark = [
    needs_nginx,
    pytest.mark.skipif(
        not shutil.which("prometheus"),
        reason="NOT TESTED: Prometheus is not installed (apt-get install prometheus)",
    ),
]
QUERIES = sorted(
    {
        target["expr"]
        for panel in json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())["panels"]
        for target in panel.get("targets", ())
    }
)
RECORDED = [
    rule["record"]
    for group in yaml.safe_load((DEPLOY / "prometheus" / "recording.yml").read_text())["groups"]
    for rule in group["rules"]
]


@pytest.fixture(scope="module")
def server(serving_folder, tmp_path_factory):
    """A supervised server of a release that says what it was measured on, one worker an endpoint."""
    folder = open_for_workers(tmp_path_factory.mktemp("p"))
    serving = shutil.copytree(serving_folder, folder / "serving")
    config = json.loads((serving / "config.json").read_text())
    config["reference"] = {"wild": {name: [4] * len(edges) for name, edges in EDGES.items()}}
    (serving / "config.json").write_text(json.dumps(config))
    for endpoint in ENDPOINTS:
        build(serving, endpoint, folder / "store")
    changes = {"model_store": str(folder / "store")} | free_addresses()
    start(folder / "s", changes, dict.fromkeys(ENDPOINTS, 1))
    yield TorchServe(folder / "s")
    stop(folder / "s")


@pytest.fixture(scope="module")
def gate(server):
    """A gate with TLS where the supervisor looks for its log."""
    certificate, key = self_signed(server.folder / "tls", "127.0.0.1")
    callers = server.folder / "callers"
    callers.write_text(f"alice {TOKEN}\n")
    callers.chmod(0o600)
    rest, grpc = free_ports(2)
    changes = {
        "rest": f"127.0.0.1:{rest}", "grpc": f"127.0.0.1:{grpc}", "callers": str(callers),
        "certificate": str(certificate), "certificate_key": str(key),
    }  # fmt: skip
    open_for_workers(server.folder)
    running = Gate(server.folder / "gate", read_settings(changes=changes), own_server(server, server.addresses))
    running.start()
    yield running
    running.stop(5)


@pytest.fixture(scope="module")
def prometheus(server, tmp_path_factory) -> str:
    """The address of a Prometheus with our configuration, but for the addresses, that asks each second."""
    folder = tmp_path_factory.mktemp("prometheus")
    for name in ("recording.yml", "alerts.yml"):
        text = (DEPLOY / "prometheus" / name).read_text()
        (folder / name).write_text(text.replace("interval: 1m", "interval: 1s"))
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    settings = dict(line.split("=", 1) for line in (server.folder / "config.properties").read_text().splitlines())
    for job, key in (("torchserve", "metrics_address"), ("supervisor", "supervisor_metrics_address")):
        (scrape,) = (one for one in config["scrape_configs"] if one["job_name"] == job)
        scrape["static_configs"] = [{"targets": [settings[key].removeprefix("http://")]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    (port,) = free_ports(1)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
             f"--web.listen-address=127.0.0.1:{port}"],
            stdout=log, stderr=log,
        )  # fmt: skip
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(20)


def values(prometheus: str, query: str) -> list[float]:
    """The values that a query has now; those that are not a number are none."""
    answer = requests.get(f"{prometheus}/api/v1/query", params={"query": query}, timeout=10).json()
    assert answer["status"] == "success", answer
    result = answer["data"]["result"]
    return [float(one["value"][1]) for one in result if one["value"][1] != "NaN"]


@pytest.fixture(scope="module")
def asked(gate, prometheus, photo):
    """Ask for a few seconds, so that rates have two samples: pictures, broken ones, and explanations."""
    pictures = (encoded(photo, "JPEG"), encoded(photo, "PNG"), encoded(photo, "JPEG")[:500])
    authority = str(gate.folder.parent / "tls" / "self-signed.pem")
    deadline = time.monotonic() + PATIENCE
    while [query for query in (*QUERIES, *RECORDED) if not _has_data(prometheus, query)]:
        if time.monotonic() > deadline:
            break
        for endpoint in ENDPOINTS:
            for picture in pictures:
                requests.post(
                    f"https://{gate.settings.rest}/predictions/{endpoint}", data=picture, timeout=30, verify=authority,
                    headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "image/jpeg"},
                )  # fmt: skip
        time.sleep(0.5)


def _has_data(prometheus: str, query: str) -> bool:
    try:
        return bool(values(prometheus, query))
    except (requests.ConnectionError, ValueError):  # it is starting
        return False


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_of_the_dashboard_has_data(prometheus, asked, query):
    assert values(prometheus, query)


@pytest.mark.parametrize("record", RECORDED)
def test_a_recorded_figure_has_data(prometheus, asked, record):
    assert values(prometheus, record)


def test_the_figures_are_those_of_what_was_asked(prometheus, asked):
    assert values(prometheus, 'sum(imagetrust_requests_total{code="broken_picture"})')[0] > 0
    assert values(prometheus, 'sum(imagetrust_stage_seconds_count{stage="queue"})')[0] > 0
    assert values(prometheus, 'sum(imagetrust_gate_requests_total{status="200"})')[0] > 0
    assert values(prometheus, "min(imagetrust_ready)") == [1]
    assert sum(values(prometheus, 'sum(imagetrust:distribution:share1d{distribution="megapixels"})')) == pytest.approx(
        1
    )
    assert values(prometheus, 'up{job=~"torchserve|supervisor"}') == [1, 1]


def test_no_alert_fires(prometheus, asked):
    """But for a certificate that is made for thirty days, nothing is amiss with a server that was just started."""
    assert values(prometheus, 'count(ALERTS{alertstate="firing",alertname!="DiskFull"}) or vector(0)') == [0]


def test_self_tests_are_not_counted(server, prometheus, asked, photo):
    def counted() -> float:
        time.sleep(2.5)
        return sum(values(prometheus, "sum(imagetrust_requests_total)"))

    before = counted()
    data, token = encoded(photo, "JPEG"), server.token("inference")
    assert ask(server.addresses.inference, "authenticity", data, token, request_id="self-test")[0] == 200
    assert counted() == before
    assert ask(server.addresses.inference, "authenticity", data, token, request_id="another")[0] == 200
    assert counted() == before + 1
