"""Networks that are trained here compute what their definitions say, and start from the weights they are given."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from handlers.card import Preprocessing
from handlers.decode import decode
from handlers.efficientnet_lite import EfficientNetLite0
from handlers.network import ARCHITECTURES
from handlers.preprocessing import picture_to_tensor
from server.samples import photograph
from training.initial_weights import NORMALISATION, build_network


def in_the_packages_names(network: EfficientNetLite0) -> dict[str, torch.Tensor]:
    """A network's tensors as the package efficientnet-lite-pytorch names them, written down independently."""
    state, renamed = network.state_dict(), {}

    def norm(ours: str, theirs: str) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            renamed[f"{theirs}.{part}"] = state[f"{ours}.{part}"].clone()

    renamed["_conv_stem.weight"] = state["stem.1.weight"]
    norm("stem.2", "_bn0")
    for block in range(16):
        layers = network.blocks[block].layers
        convolutions = [index for index, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
        names = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))[-len(convolutions) :]
        for index, (convolution, its_norm) in zip(convolutions, names, strict=True):
            renamed[f"_blocks.{block}.{convolution}.weight"] = state[f"blocks.{block}.layers.{index}.weight"]
            norm(f"blocks.{block}.layers.{index + 1}", f"_blocks.{block}.{its_norm}")
    renamed["_conv_head.weight"] = state["top.0.weight"]
    norm("top.1", "_bn1")
    return renamed | {"_fc.weight": state["fc.weight"], "_fc.bias": state["fc.bias"]}


def test_lite0_starts_from_the_packages_weights(tmp_path):
    torch.manual_seed(0)
    original = EfficientNetLite0(1000).eval()
    for module in original.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.9, 1.1)
    save_file(in_the_packages_names(original), tmp_path / "lite0.safetensors")
    loaded = build_network("efficientnet_lite0", str(tmp_path / "lite0.safetensors"), 1000).eval()
    pictures = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(pictures), original(pictures))


def test_imagenets_weights_see_a_cat():
    """Classes 281 to 285 of ImageNet are cats: the packaged weights, under our names, know one."""
    network = build_network("efficientnet_lite0", "imagenet", 1000).eval()
    preprocessing = Preprocessing(224, 0.875, "bicubic", **NORMALISATION["efficientnet_lite0"])
    with torch.inference_mode():
        logits = network(picture_to_tensor(decode(photograph().read_bytes()).image, preprocessing)[None])
    assert 281 <= int(logits.argmax()) <= 285


def test_lite0_is_of_the_published_size():
    """4.65 million parameters with 1000 classes, as the package's file holds; 0.39 GMAC at 224 pixels."""
    assert sum(parameter.numel() for parameter in EfficientNetLite0(1000).parameters()) == 4_652_008


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_answers_and_learns(name):
    network = build_network(name, "none", 6)
    logits = network(torch.randn(2, 3, 64, 64))
    assert logits.shape == (2, 6)
    logits.sum().backward()
    assert any(parameter.grad is not None for parameter in network.parameters())
    assert set(NORMALISATION[name]) == {"mean", "std"}


def test_weights_of_another_network_are_refused(tmp_path):
    save_file({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "part.safetensors")
    with pytest.raises(ValueError, match="lacks"):
        build_network("resnet18", str(tmp_path / "part.safetensors"), 2)
