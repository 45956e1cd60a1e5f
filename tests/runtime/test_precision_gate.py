"""The gate lets nothing pass that was not measured, or changes more than its limits, or is of other weights."""

import msgspec
import pytest

from imagetrust.models.config import ModelConfig
from imagetrust.runtime.precision_gate import LIMITS, Gate
from tests.releases import RELEASE

PASSING = {name: limit * 0.9 for name, limit in LIMITS.items()}


def gate(metrics) -> Gate:
    return Gate("0" * 64, {"int8": {"authenticity": 0.1}}, {"int8": metrics}, {}, {})


def test_within_every_limit_it_passes():
    assert gate(PASSING).failures("int8") == [] and gate(PASSING).passed() == {"int8": {"authenticity": 0.1}}


@pytest.mark.parametrize("name", LIMITS)
def test_one_metric_beyond_its_limit_fails(name):
    for value in (-1.1 * LIMITS[name], float("nan")):
        failing = gate(PASSING | {name: value})
        assert len(failing.failures("int8")) == 1 and failing.passed() == {}
    unmeasured = gate({other: value for other, value in PASSING.items() if other != name})
    assert "not measured" in unmeasured.failures("int8")[0]


def test_a_precision_without_metrics_fails():
    assert len(gate(PASSING).failures("bf16")) == len(LIMITS)


def test_what_is_written_is_read(tmp_path):
    written = gate(PASSING)
    written.write(tmp_path)
    assert Gate.read(tmp_path, "0" * 64) == written
    with pytest.raises(ValueError, match="other weights"):
        Gate.read(tmp_path, "1" * 64)
    msgspec.structs.replace(written, metrics={"int8": {}}).write(tmp_path)
    assert Gate.read(tmp_path, "0" * 64).passed() == {}


def test_no_gate_and_a_broken_one(tmp_path):
    assert Gate.read(tmp_path, "0" * 64) is None
    (tmp_path / "gate.json").write_text('{"margins": 1}')
    with pytest.raises(ValueError, match=r"gate\.json"):
        Gate.read(tmp_path, "0" * 64)


def test_the_released_gate_belongs_to_the_released_weights():
    released = Gate.read(RELEASE, ModelConfig.read(RELEASE).weights_sha256)
    assert released is not None and all(not released.failures(precision) for precision in released.margins)
