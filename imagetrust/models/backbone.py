"""What a backbone is to everything that trains, exports, runs or explains one."""

import importlib
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Backbone:
    """A feature extractor in two parts, and all that differs between one and another.

    features: builds the large part, for images of so many pixels a side: normalised images (N, 3, size, size) to
        features, the last that have places. It takes the weights of one for another size.
    pool: builds the small part: features to embeddings (N, channels), of which the heads are linear functions. The heat
        map is made of the gradients through it.
    layout: of the features. "grid": (N, C, rows, columns). "tokens": (N, T, C), of which the last rows * columns are of
        places, and the fewer before them, such as [CLS], are not.
    mean, std, input_size: what the pretrained weights expect; size in pixels. stride: pixels a place.
    pretrained: loads the weights to start from, by the parameters' names in `features` and `pool`; where they come from
        and under which licence says `source`. None: it is trained from scratch.
    quantised: whether int8 takes a network whose activations are quantised beforehand, with a scale a tensor. CLIP's
        have outlier channels, which that does not hold: int8 takes the network as it is, for its weights.
    bf16_products: whether AVX-512's bf16 products alone, without AMX, make it faster than fp32. Depthwise convolutions
        are slower.
    """

    name: str
    features: Callable[[int], nn.Module]
    pool: Callable[[], nn.Module]
    layout: Literal["grid", "tokens"]
    channels: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    input_size: int
    stride: int
    source: str
    pretrained: Callable[[], Weights] | None = None
    quantised: bool = True
    bf16_products: bool = True

    def build(self, size: int | None = None) -> "Network":
        """Return the untrained network, for images of so many pixels a side, input_size where not given."""
        return Network(self.features(size or self.input_size), self.pool())

    def grid(self, features: torch.Tensor) -> torch.Tensor:
        """Lay features out by place: (N, C, rows, columns)."""
        if self.layout == "grid":
            return features
        side = math.isqrt(features.shape[1] - 1)
        patches = features[:, features.shape[1] - side * side :]
        return patches.transpose(1, 2).reshape(len(patches), -1, side, side)


class Network(nn.Module):
    """A backbone's two parts: normalised images (N, 3, size, size) to features and embeddings (N, channels)."""

    def __init__(self, features: nn.Module, pool: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.pool = pool

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the features and the embeddings of a batch."""
        features = self.features(images)
        return features, self.pool(features)


class AveragePool(nn.Module):
    """Global average pooling: (N, C, rows, columns) to (N, C)."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the mean over all places."""
        return features.mean(dim=(2, 3))


# The torchvision wheel on PyPI is built against CUDA builds of torch. Beside a CPU build its C++ library does not load,
# and the import stops because these schemas were never registered. Neither is used here: declaring them is enough.
_UNREGISTERED = "operator torchvision::nms does not exist"
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_library: torch.library.Library | None = None  # torch forgets the schemas once the Library object is collected


def import_torchvision() -> None:
    """Import torchvision, also where its compiled operators do not fit the installed torch."""
    global _library
    try:
        importlib.import_module("torchvision")
        return
    except RuntimeError as error:
        if _UNREGISTERED not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    _library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        _library.define(schema)
    importlib.import_module("torchvision")


def timm_model(name: str, **options: Any) -> nn.Module:
    """Return timm's untrained model without a head. Importing timm takes seconds: a worker without need does not."""
    import_torchvision()
    import timm

    model: nn.Module = timm.create_model(name, pretrained=False, num_classes=0, **options)
    return model
