"""Each alert fires when it should and is silent when it should be, in Prometheus' own unit tests of rules."""

import json
import math
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus"
ALERTS = {
    rule["alert"]: rule
    for group in yaml.safe_load((RULES / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
}
needs_promtool = pytest.mark.skipif(
    not shutil.which("promtool"),
    reason="NOT TESTED: promtool is not installed (apt-get install prometheus)",
)
pytestmark = needs_promtool

V = 'model_name="authenticity",model_version="1.0"'
HOUR, DAY = 2, 48  # half hours
# By alert: series of one sample a minute, the minute, and whether it fires then.
CASES = [
    ("Down", {'up{job="supervisor",instance="a"}': "1 0x9"}, 5, True),
    ("Down", {'up{job="supervisor",instance="a"}': "1 0 1x9"}, 5, False),
    ("ModelWithoutWorker", {f"imagetrust_workers_ready{{{V}}}": "2 0x9"}, 4, True),
    ("ModelWithoutWorker", {f"imagetrust_workers_ready{{{V}}}": "2 0 1x9"}, 4, False),
    (
        "WorkersMissing",
        {f"imagetrust_workers_ready{{{V}}}": "1x20", f"imagetrust_workers_wanted{{{V}}}": "2x20"},
        12,
        True,
    ),
    (
        "WorkersMissing",
        {f"imagetrust_workers_ready{{{V}}}": "2x20", f"imagetrust_workers_wanted{{{V}}}": "2x20"},
        12,
        False,
    ),
    ("NotReady", {"imagetrust_ready": "1 0x9"}, 8, True),
    ("NotReady", {"imagetrust_ready": "1 0x3 1x9"}, 8, False),
    ("SelfTestOld", {f"imagetrust_self_test_timestamp_seconds{{{V}}}": "0x30"}, 12, True),
    ("SelfTestOld", {f"imagetrust_self_test_timestamp_seconds{{{V}}}": "0+60x30"}, 12, False),
    ("Restarts", {'imagetrust_restarts_total{program="torchserve"}': "0x10 1 2 3 4x50"}, 30, True),
    ("Restarts", {'imagetrust_restarts_total{program="torchserve"}': "0x10 1x60"}, 30, False),
    ("Repairs", {"imagetrust_repairs_total": "0x10 1 2 3 4x50"}, 30, True),
    ("Repairs", {"imagetrust_repairs_total": "0x10 1x60"}, 30, False),
    (
        "GateErrors",
        {
            'imagetrust_gate_requests_total{status="200",route="predictions"}': "0+95x20",
            'imagetrust_gate_requests_total{status="503",route="predictions"}': "0+5x20",
        },
        15,
        True,
    ),
    (
        "GateErrors",
        {
            'imagetrust_gate_requests_total{status="200",route="predictions"}': "0+99x20",
            'imagetrust_gate_requests_total{status="503",route="predictions"}': "0+1x20",
            'imagetrust_gate_requests_total{status="429",route="predictions"}': "0+99x20",
        },
        15,
        False,
    ),
    ("InternalErrors", {f'imagetrust_requests_total{{{V},code="internal"}}': "0x5 1x20"}, 10, True),
    ("InternalErrors", {f'imagetrust_requests_total{{{V},code="unknown_format"}}': "0x5 9x20"}, 10, False),
    (
        "Slow",
        {
            'imagetrust_gate_seconds_bucket{route="predictions",le="2.0"}': "0+90x30",
            'imagetrust_gate_seconds_bucket{route="predictions",le="5.0"}': "0+100x30",
            'imagetrust_gate_seconds_bucket{route="predictions",le="+Inf"}': "0+100x30",
        },
        25,
        True,
    ),
    (
        "Slow",
        {
            'imagetrust_gate_seconds_bucket{route="predictions",le="2.0"}': "0+99x30",
            'imagetrust_gate_seconds_bucket{route="predictions",le="5.0"}': "0+100x30",
            'imagetrust_gate_seconds_bucket{route="predictions",le="+Inf"}': "0+100x30",
        },
        25,
        False,
    ),
    ("QueueFull", {f"imagetrust_queued_requests{{{V}}}": "90x9", "imagetrust_queue_size": "100x9"}, 5, True),
    ("QueueFull", {f"imagetrust_queued_requests{{{V}}}": "70x9", "imagetrust_queue_size": "100x9"}, 5, False),
    ("CertificateEnds", {"imagetrust_certificate_expiry_timestamp_seconds": f"{13 * 86400}x9"}, 5, True),
    ("CertificateEnds", {"imagetrust_certificate_expiry_timestamp_seconds": f"{30 * 86400}x9"}, 5, False),
    ("DiskFull", {"imagetrust_disk_free_bytes": "9e9x9", "imagetrust_disk_size_bytes": "1e11x9"}, 8, True),
    ("DiskFull", {"imagetrust_disk_free_bytes": "1e9x9", "imagetrust_disk_size_bytes": "4e9x9"}, 8, True),
    ("DiskFull", {"imagetrust_disk_free_bytes": "3e10x9", "imagetrust_disk_size_bytes": "1e11x9"}, 8, False),
]
BINS = [f"{edge / 10:g}" for edge in range(1, 11)]


def images(rates: list[float], reference: list[list[int]]) -> dict[str, str]:
    """Images each half hour by bin for a day and a half, and the counts of each set of reference."""
    series = {
        f'imagetrust_distribution_total{{{V},distribution="probability",bin="{edge}"}}': f"0+{rate}x{DAY + HOUR * 12}"
        for edge, rate in zip(BINS, rates, strict=True)
    }
    for number, counts in enumerate(reference):
        for edge, count in zip(BINS, counts, strict=True):
            labels = f'{V},set="set{number}",distribution="probability",bin="{edge}"'
            series[f"imagetrust_reference_images{{{labels}}}"] = f"{count}x{DAY + HOUR * 12}"
    return series


FLAT, LOW = [40] * 10, [200, 100, 50, 20, 10, 5, 5, 5, 3, 2]
DRIFT_CASES = [
    (images([9] * 10, [LOW]), True),
    (images([9] * 10, [FLAT]), False),
    # Like one of the sets that it was measured on, however unlike another.
    (images([9] * 10, [LOW, FLAT]), False),
    # Too few to say: by chance alone the index of a hundred images is about 0.1.
    (images([0.3] * 10, [LOW]), False),
]


def run_promtool(tmp_path: Path, series: dict[str, str], check: dict, minutes: int = 1) -> None:
    """Check an expression after series with a sample each few minutes, at which the rules are evaluated too."""
    described = {
        "rule_files": [str(RULES / name) for name in ("recording.yml", "alerts.yml")],
        "group_eval_order": ["imagetrust", "imagetrust drift", "imagetrust alerts"],
        "evaluation_interval": f"{minutes}m",
        "tests": [
            {
                "interval": f"{minutes}m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [check],
            }
        ],
    }
    path = tmp_path / "test.yml"
    path.write_text(yaml.safe_dump(described))
    done = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("alert", "series", "minute", "fires"),
    CASES,
    ids=[f"{number}-{case[0]}-{'fires' if case[3] else 'silent'}" for number, case in enumerate(CASES)],
)
def test_an_alert(tmp_path, alert, series, minute, fires):
    run_promtool(tmp_path, series, firing(alert, minute, fires))


@pytest.mark.parametrize(("series", "fires"), DRIFT_CASES)
def test_drift(tmp_path, series, fires):
    run_promtool(tmp_path, series, firing("Drift", 30 * (DAY + 4 * HOUR), fires), minutes=30)


def firing(alert: str, minute: int, fires: bool) -> dict:
    samples = [{"labels": f'{{alertname="{alert}"}}', "value": 1}] if fires else []
    expression = f'count by (alertname) (ALERTS{{alertname="{alert}",alertstate="firing"}})'
    return {"expr": expression, "eval_time": f"{minute}m", "exp_samples": samples}


def test_every_alert_has_a_test_of_each_kind():
    for kind in (True, False):
        assert {case[0] for case in CASES if case[3] == kind} == set(ALERTS) - {"Drift"}
        assert [fires for _, fires in DRIFT_CASES].count(kind)


def test_the_stability_index_is_that_of_the_formula(tmp_path):
    """By hand: half an image is added to each of the ten bins."""
    reference, day = [10, 30, 0, 0, 0, 0, 0, 0, 0, 0], [480, 480, 0, 0, 0, 0, 0, 0, 0, 0]
    a = [(count + 0.5) / (sum(reference) + 5) for count in reference]
    b = [(count + 0.5) / (sum(day) + 5) for count in day]
    index = sum((x - y) * math.log(x / y) for x, y in zip(a, b, strict=True))
    check = {
        "expr": f'abs(imagetrust:drift:psi1d{{distribution="probability"}} - {index:.6f}) < bool 0.001',
        "eval_time": f"{30 * (DAY + HOUR)}m",
        "exp_samples": [{"labels": '{distribution="probability",model_version="1.0",set="set0"}', "value": 1}],
    }
    run_promtool(tmp_path, images([count / DAY for count in day], [reference]), check, minutes=30)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_its_section(alert):
    """The page that the annotation names says what to do."""
    rule = ALERTS[alert]
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (.*)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor in {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert rule["labels"]["severity"] in ("page", "ticket") and rule["annotations"]["summary"]


@pytest.mark.parametrize("command", [["config", "prometheus.yml"], ["rules", "recording.yml"], ["rules", "alerts.yml"]])
def test_promtool_accepts(command):
    kind, name = command
    done = subprocess.run(["promtool", "check", kind, str(RULES / name)], capture_output=True, text=True)
    assert done.returncode == 0 and "WARN" not in done.stdout + done.stderr, done.stdout + done.stderr


def test_the_dashboard_uses_every_figure():
    """What is recorded for people and shown nowhere would be forgotten."""
    shown = json.dumps(json.loads((ROOT / "deploy" / "grafana" / "dashboard.json").read_text()))
    groups = yaml.safe_load((RULES / "recording.yml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    used = shown + "".join(rule["expr"] for rule in [*rules, *ALERTS.values()])
    assert not [rule["record"] for rule in rules if rule["record"] not in used]
