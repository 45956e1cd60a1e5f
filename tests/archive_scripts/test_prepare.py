"""A serving folder is whole or not there, and holds only what belongs together and passed its gate."""

import json
import shutil
from pathlib import Path

import msgspec
import pytest

from archive_scripts.prepare import BuildError, prepare
from imagetrust.models.config import CONFIG, WEIGHTS, ModelConfig
from imagetrust.runtime.engine import choose_engine
from imagetrust.runtime.precision_gate import EXACT_NETWORK, GATE, INT8_NETWORK, Gate
from tests.releases import RELEASE


@pytest.fixture
def release(tmp_path) -> Path:
    """A copy of the release, to be harmed."""
    return shutil.copytree(RELEASE, tmp_path / "release")


def refused(release: Path, folder: Path, words: str) -> None:
    with pytest.raises(BuildError, match=words):
        prepare(release, folder)
    assert not folder.exists() and not list(folder.parent.glob(".*"))


def test_it_holds_what_serves(serving_folder):
    names = {path.name for path in serving_folder.iterdir()}
    assert names == {
        CONFIG, WEIGHTS, GATE, EXACT_NETWORK, EXACT_NETWORK.replace(".xml", ".bin"),
        INT8_NETWORK, INT8_NETWORK.replace(".xml", ".bin"),
    }  # fmt: skip


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_missing_file_is_named(release, tmp_path, name):
    (release / name).unlink()
    refused(release, tmp_path / "model", name)


def test_weights_of_another_description_are_refused(release, tmp_path):
    msgspec.structs.replace(ModelConfig.read(release), weights_sha256="0" * 64).write(release)
    refused(release, tmp_path / "model", "SHA-256")


def test_a_model_that_is_not_calibrated_is_refused(release, tmp_path):
    config = ModelConfig.read(release)
    heads = config.heads | {"authenticity": msgspec.structs.replace(config.heads["authenticity"], thresholds=None)}
    msgspec.structs.replace(config, heads=heads).write(release)
    refused(release, tmp_path / "model", "no thresholds")


def test_without_a_gate_it_is_served_in_fp32(release, tmp_path):
    (release / GATE).unlink()
    model = prepare(release, tmp_path / "model")
    assert not (tmp_path / "model" / INT8_NETWORK).exists()
    model.folder = tmp_path / "model"
    assert choose_engine(model).name == "openvino fp32"


def changed_gate(release: Path, change) -> None:
    fields = json.loads((release / GATE).read_text())
    change(fields)
    (release / GATE).write_text(json.dumps(fields))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda gate: gate["metrics"]["int8"].update(verdicts_changed=0.006), r"int8: verdicts_changed is \+0\.0060"),
        (lambda gate: gate["metrics"]["int8"].pop("calibration_error_change"), "was not measured"),
        (lambda gate: gate["metrics"].pop("bf16"), "bf16: .* was not measured"),
        (lambda gate: gate.update(weights_sha256="0" * 64), "measured of other weights"),
        (lambda gate: gate["files"].pop(INT8_NETWORK), "is not described"),
    ],
)
def test_what_the_gate_does_not_pass_is_refused(release, tmp_path, change, words):
    changed_gate(release, change)
    refused(release, tmp_path / "model", words)


def test_a_network_that_was_not_measured_is_refused(release, tmp_path):
    (release / INT8_NETWORK.replace(".xml", ".bin")).write_bytes(b"other")
    refused(release, tmp_path / "model", "not the file that was measured")
    (release / INT8_NETWORK.replace(".xml", ".bin")).unlink()
    refused(release, tmp_path / "model", "is missing")


def test_the_released_gate_is_read_back(serving_folder):
    config = ModelConfig.read(serving_folder)
    assert Gate.read(serving_folder, config.weights_sha256).passed().keys() == {"bf16", "int8"}
