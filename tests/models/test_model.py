"""Weights: what is wrong is refused by name, and what is right is loaded no further than it is needed."""

import pickle

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

from imagetrust.files import file_sha256
from imagetrust.models.config import TASKS, WEIGHTS, ModelConfig
from imagetrust.models.model import Model
from tests.releases import RELEASE


def write(folder, tensors=None, **changes):
    """Write the release with other weights, described by their own hash, or another description."""
    if tensors is not None:
        save_file(tensors, folder / WEIGHTS)
        changes = {"weights_sha256": file_sha256(folder / WEIGHTS)} | changes
    else:
        (folder / WEIGHTS).write_bytes((RELEASE / WEIGHTS).read_bytes())
    msgspec.structs.replace(ModelConfig.read(RELEASE), **changes).write(folder)
    return folder


def test_the_release_fits():
    model = Model(RELEASE)
    assert set(model.heads) == set(TASKS)
    features, embeddings = model.network(torch.zeros(2, 3, 96, 96))
    assert features.shape == (2, 1280, 3, 3) and embeddings.shape == (2, 1280)
    logits = model.logits(embeddings)
    assert {task: tuple(rows.shape) for task, rows in logits.items()} == {
        "authenticity": (2, 2),
        "generator_type": (2, 4),
    }
    assert (RELEASE / WEIGHTS).stat().st_size < 25e6


def test_weights_that_are_not_described(tmp_path):
    with pytest.raises(ValueError, match="SHA-256"):
        Model(write(tmp_path, weights_sha256="0" * 64))


def test_a_head_of_another_shape(tmp_path):
    tensors = load_file(RELEASE / WEIGHTS) | {"heads.authenticity.weight": torch.zeros(2, 7)}
    with pytest.raises(ValueError, match="head of authenticity"):
        Model(write(tmp_path, tensors))


@pytest.mark.parametrize("change", ["missing", "unexpected"])
def test_a_backbone_of_other_layers(tmp_path, change):
    tensors = load_file(RELEASE / WEIGHTS)
    if change == "missing":
        del tensors["features.conv_stem.weight"]
    else:
        tensors["features.layer9.weight"] = torch.zeros(1)
    with pytest.raises(ValueError, match=f"{change}.*(conv_stem|layer9)"):
        _ = Model(write(tmp_path, tensors)).network


def test_an_unknown_backbone(tmp_path):
    with pytest.raises(ValueError, match="resnet99.*efficientnet_lite0"):
        Model(write(tmp_path, backbone="resnet99"))


def test_a_pickle_is_never_opened(tmp_path):
    """Renamed to safetensors, with a fitting hash, a pickle that would run code is only a broken file."""
    touched = tmp_path / "touched"

    class Harmful:
        def __reduce__(self):
            return (touched.write_text, ("ran",))

    (tmp_path / WEIGHTS).write_bytes(pickle.dumps(Harmful()))
    config = ModelConfig.read(RELEASE)
    msgspec.structs.replace(config, weights_sha256=file_sha256(tmp_path / WEIGHTS)).write(tmp_path)
    with pytest.raises(Exception, match="(?i)header|deserializ"):
        Model(tmp_path)
    assert not touched.exists()


def test_margin():
    """In calibrated log odds: to the label's change, and for authenticity to the thresholds of the verdict."""
    model = Model(RELEASE)
    head = model.config.heads["authenticity"]
    threshold = float(torch.tensor(head.thresholds.generated).logit())
    odds = torch.tensor([0.0, 0.25, threshold + 0.5, -threshold - 2])
    logits = torch.stack([torch.zeros(4), odds * head.temperature], dim=1)
    assert model.margin("authenticity", logits).tolist() == pytest.approx([0, 0.25, 0.5, 2], abs=1e-4)
    scores = torch.tensor([[1.0, 3.0, 2.5, 0.0]]) * model.config.heads["generator_type"].temperature
    assert model.margin("generator_type", scores).tolist() == pytest.approx([0.5], abs=1e-5)


def test_probabilities_are_calibrated():
    model = Model(RELEASE)
    temperature = model.config.heads["authenticity"].temperature
    probabilities = model.probabilities("authenticity", torch.tensor([0.0, temperature]))
    assert probabilities.tolist() == pytest.approx(torch.tensor([0.0, 1.0]).softmax(0).tolist())
