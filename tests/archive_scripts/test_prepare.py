"""A serving folder is whole or not there, and holds only what belongs together and passed its gate."""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

from archive_scripts.prepare import BuildError, prepare
from archive_scripts.self_test import PICTURES, SELF_TEST
from imagetrust.files import file_sha256
from imagetrust.models.clip import ORIGINAL
from imagetrust.models.config import CONFIG, PRETRAINED, WEIGHTS, ModelConfig
from imagetrust.models.model import Model, pretrained_file
from imagetrust.models.registry import BACKBONES
from imagetrust.runtime.engine import choose_engine
from imagetrust.runtime.precision_gate import EXACT_NETWORK, GATE, INT8_NETWORK, Gate
from tests.releases import RELEASE, untrained_release
from tests.small_vit import SMALL_VIT


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
    assert {path.name for path in (serving_folder / "self_test").iterdir()} == {
        path.name for path in PICTURES.iterdir()
    }
    assert names == {
        SELF_TEST, "self_test",
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


@pytest.fixture
def pretrained(monkeypatch):
    """A small Vision Transformer that has pretrained weights: those of one seed."""

    def weights(seed: int = 1):
        torch.manual_seed(seed)
        return dict(SMALL_VIT.build().state_dict())

    backbone = dataclasses.replace(SMALL_VIT, pretrained=weights)
    monkeypatch.setitem(BACKBONES, backbone.name, backbone)
    return backbone


@pytest.fixture
def built_on_it(pretrained, tmp_path):
    """A release whose own file has heads alone."""
    release = untrained_release(tmp_path / "release", pretrained)
    heads = {name: tensor for name, tensor in load_file(release / WEIGHTS).items() if name.startswith("heads.")}
    save_file(heads, release / WEIGHTS)
    digests = {
        "weights_sha256": file_sha256(release / WEIGHTS),
        "pretrained_sha256": hashlib.sha256(pretrained_file(pretrained)).hexdigest(),
    }
    msgspec.structs.replace(ModelConfig.read(release), **digests).write(release)
    return release


def test_pretrained_weights_are_served_from_the_folder_alone(built_on_it, tmp_path, pretrained, monkeypatch):
    images = torch.rand(1, 3, 96, 96)
    expected = Model(built_on_it).network(images)[1]
    prepare(built_on_it, tmp_path / "model")
    absent = dataclasses.replace(pretrained, pretrained=lambda: pytest.fail("fetched"))
    monkeypatch.setitem(BACKBONES, pretrained.name, absent)
    assert torch.equal(Model(tmp_path / "model").network(images)[1], expected)
    damaged = (tmp_path / "model" / PRETRAINED).read_bytes()[:-1] + b"!"
    (tmp_path / "model" / PRETRAINED).write_bytes(damaged)
    with pytest.raises(ValueError, match=f"{PRETRAINED} has SHA-256"):
        Model(tmp_path / "model")


def test_other_pretrained_weights_are_served_when_asked_for(built_on_it, tmp_path, pretrained, monkeypatch, capsys):
    other = dataclasses.replace(pretrained, pretrained=lambda: pretrained.pretrained(2))
    monkeypatch.setitem(BACKBONES, pretrained.name, other)
    refused(built_on_it, tmp_path / "model", "pretrained small_vit has SHA-256")
    monkeypatch.setenv(ORIGINAL, "clip.safetensors")
    model = prepare(built_on_it, tmp_path / "model")
    assert "Taken from clip.safetensors" in capsys.readouterr().out
    assert model.config.pretrained_sha256 == hashlib.sha256(pretrained_file(other)).hexdigest()


def test_pretrained_weights_that_cannot_be_had(built_on_it, tmp_path, pretrained, monkeypatch):
    def offline():
        raise RuntimeError("no index")

    monkeypatch.setitem(BACKBONES, pretrained.name, dataclasses.replace(pretrained, pretrained=offline))
    refused(built_on_it, tmp_path / "model", "no index")
