"""What the handlers count has few labels, and each request has a line of JSON without anything private."""

import json
import logging
import re
import time
from pathlib import Path

import msgspec
import pytest
import yaml
from ts.metrics.caching_metric import CachingMetric
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl

from handlers.metrics import Metrics, request_id
from imagetrust.distributions import EDGES, Reference
from imagetrust.errors import PredictionError, RequestError
from imagetrust.measured import Measured
from imagetrust.models.config import ModelConfig
from tests.releases import RELEASE

METRICS = Path(__file__).resolve().parents[2] / "server" / "metrics.yaml"
AUTHENTICITY = {"verdict": "uncertain", "probability_generated": 0.31, "label": "real"}
TYPE = {"family": "gan", "probabilities": {"real": 0.1, "gan": 0.9}}


@pytest.fixture
def config() -> ModelConfig:
    return ModelConfig.read(RELEASE)


@pytest.fixture
def told(monkeypatch) -> list[tuple[str, float, str]]:
    """What TorchServe is told: each metric's name, value and dimensions."""
    lines = []
    monkeypatch.setattr(
        CachingMetric,
        "emit_metrics",
        lambda self, _, value, dimensions: lines.append((self.metric_name, value, dimensions)),
    )
    return lines


@pytest.fixture
def metrics(config, told) -> Metrics:
    cache = MetricsCacheYamlImpl(str(METRICS))
    cache.initialize_cache()
    return Metrics(cache, "authenticity", config, "openvino int8", 2)


def counted(told, name: str) -> dict[str, float]:
    return {dimensions.split(",", 2)[2]: value for metric, value, dimensions in told if metric == name}


def test_an_answer_is_counted(metrics, told):
    seconds = {"decode": 0.004, "preprocess": 0.001, "inference": 0.01}
    measured = Measured(seconds, (1024, 768), views=1, recomputed=True)
    metrics.count_batch(1)
    metrics.count({}, AUTHENTICITY, measured, time.time())
    assert counted(told, "imagetrust_requests_total") == {"code:answered": 1}
    assert counted(told, "imagetrust_verdicts_total") == {"verdict:uncertain": 1}
    assert counted(told, "imagetrust_distribution_total") == {
        "distribution:probability,bin:0.4": 1,
        "distribution:megapixels,bin:1": 1,
    }
    assert counted(told, "imagetrust_stage_seconds") == {
        "stage:decode": 0.004, "stage:preprocess": 0.001, "stage:inference": 0.01,
    }  # fmt: skip
    assert counted(told, "imagetrust_scored_total") == {"engine:openvino,precision:int8": 1}
    assert ("imagetrust_batch_fill_ratio", 0.5, f"model_name:authenticity,model_version:{RELEASE.name}") in told
    for name in ("imagetrust_recomputed_total", "imagetrust_views_total"):
        assert (name, 1, f"model_name:authenticity,model_version:{RELEASE.name}") in told


def test_an_explanation_is_counted_for_both_questions(metrics, told):
    answer = {"inferred": {"authenticity": AUTHENTICITY, "generator_type": TYPE, "heatmap": {"class": "real"}}}
    metrics.count({}, answer, Measured(), time.time())
    assert counted(told, "imagetrust_verdicts_total") == {"verdict:uncertain": 1}
    assert counted(told, "imagetrust_families_total") == {"family:gan": 1}


@pytest.mark.parametrize("error", [RequestError("unknown_format", "It is none."), PredictionError()])
def test_what_is_refused_is_counted_by_its_code(metrics, told, error):
    metrics.count({}, error, Measured({"decode": 0.1}), time.time())
    assert counted(told, "imagetrust_requests_total") == {f"code:{error.code}": 1}
    assert not counted(told, "imagetrust_verdicts_total") and not counted(told, "imagetrust_distribution_total")


def test_counters_begin_at_nothing_and_the_reference_is_told(config, told):
    bins = len(EDGES["probability"])
    config = msgspec.structs.replace(config, reference={"wild": Reference((1,) * bins, (1,) * bins)})
    cache = MetricsCacheYamlImpl(str(METRICS))
    cache.initialize_cache()
    Metrics(cache, "explanation", config, "torch fp32", 1).begin(config, ("authenticity", "generator_type"))
    assert {value for name, value, _ in told if name.endswith("_total")} == {0}
    assert len(counted(told, "imagetrust_reference_images")) == 2 * bins
    assert len(counted(told, "imagetrust_distribution_total")) == 2 * bins
    assert len(counted(told, "imagetrust_families_total")) == 4


def test_metrics_that_are_not_listed_are_left_out(config, told, caplog):
    """A TorchServe that was started with another metrics.yaml, or none."""
    caplog.set_level(logging.INFO)
    metrics = Metrics(None, "authenticity", config, "torch fp32", 1)
    metrics.begin(config, ("authenticity",))
    metrics.count({}, AUTHENTICITY, Measured(), time.time())
    assert not told and json.loads(caplog.records[-1].getMessage())["code"] == "answered"


def test_a_self_test_is_logged_and_not_counted(metrics, told, caplog):
    caplog.set_level(logging.INFO)
    metrics.count({"x-request-id": "self-test"}, AUTHENTICITY, Measured({"decode": 1.0}), time.time())
    assert not told and json.loads(caplog.records[-1].getMessage())["id"] == "self-test"


@pytest.mark.parametrize(
    ("header", "expected"),
    [("99.5", 0.5), ("100.2", 0.0), ("102", None), ("nan", None), ("1e9", None), ("then", None), (None, None)],
)
def test_the_wait_is_counted_where_the_gate_says_since_when(metrics, told, header, expected):
    headers = {} if header is None else {"x-request-start": header}
    metrics.count(headers, AUTHENTICITY, Measured(), 100.0)
    assert counted(told, "imagetrust_stage_seconds") == ({} if expected is None else {"stage:queue": expected})


@pytest.mark.parametrize(
    ("sent", "called"),
    [("order-7", "order-7"), ("a" * 65, "-"), ('"}', "-"), ("two\nlines", "-"), ("", "-"), ("käse", "-")],
)
def test_a_request_has_the_name_that_the_gate_gave_it(sent, called):
    assert request_id({"x-request-id": sent}) == called


def test_a_line_of_json_has_no_more_than_this(metrics, told, caplog):
    caplog.set_level(logging.INFO)
    headers = {
        "x-request-id": "order-7",
        "authorization": "Bearer secret",
        "x-request-start": "1.0",
        "imagetrust-place": "shown",
    }
    metrics.count(headers, AUTHENTICITY, Measured({"decode": 0.00412345}, (640, 480)), 1.25)
    line = caplog.records[-1].getMessage()
    assert "\n" not in line
    assert {key: value for key, value in json.loads(line).items() if key != "time"} == {
        "id": "order-7", "model": "authenticity", "version": RELEASE.name, "status": 200, "code": "answered",
        "seconds": {"queue": 0.25, "decode": 0.0041},
    }  # fmt: skip


def test_every_metric_of_the_handlers_is_listed_and_every_listed_one_is_theirs():
    listed = yaml.safe_load(METRICS.read_text())["model_metrics"]
    names = {metric["name"] for metrics in listed.values() for metric in metrics}
    source = (METRICS.parents[1] / "handlers" / "metrics.py").read_text()
    assert names == set(re.findall(r'"(imagetrust_\w+)"', source))
