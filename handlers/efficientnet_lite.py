"""EfficientNet-Lite0: EfficientNet-B0 (Tan and Le 2019, arXiv 1905.11946) without squeeze-and-excitation, with ReLU6.

The block table is that of google's tpu/models/official/efficientnet/lite. Padding is TensorFlow's SAME, which pads
more on the right and the bottom: the published weights expect it.
"""

import torch
from torch import nn

# expansion, kernel, stride, channels out, repeats
_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
_STEM, _FEATURES = 32, 1280
_NORM = {"eps": 1e-3, "momentum": 0.01}


class SamePadding(nn.ZeroPad2d):
    """What TensorFlow's SAME adds around an even-sided input of a strided convolution."""

    def __init__(self, kernel: int) -> None:
        super().__init__(((kernel - 2) // 2, (kernel - 1) // 2) * 2)


def _convolution(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    strided = stride > 1
    padding = 0 if strided else kernel // 2
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
    return [*([SamePadding(kernel)] if strided else []), convolution, nn.BatchNorm2d(outputs, **_NORM)]


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; added to the input where the shapes allow."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = inputs * expansion
        expand = [*_convolution(inputs, wide), nn.ReLU6(inplace=True)] if expansion > 1 else []
        filter_each = [*_convolution(wide, wide, kernel, stride, groups=wide), nn.ReLU6(inplace=True)]
        self.layers = nn.Sequential(*expand, *filter_each, *_convolution(wide, outputs))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs = self.layers(inputs)
        return inputs + outputs if self.residual else outputs


class EfficientNetLite0(nn.Module):
    """(N, 3, H, W) in, H and W multiples of 32; (N, num_classes) logits out. 0.39 GMAC at 224 x 224."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_convolution(3, _STEM, 3, 2), nn.ReLU6(inplace=True))
        blocks, channels = [], _STEM
        for expansion, kernel, stride, outputs, repeats in _STAGES:
            for repeat in range(repeats):
                blocks.append(InvertedResidual(channels, outputs, expansion, kernel, stride if repeat == 0 else 1))
                channels = outputs
        self.blocks = nn.Sequential(*blocks)
        self.top = nn.Sequential(*_convolution(channels, _FEATURES), nn.ReLU6(inplace=True))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(_FEATURES, num_classes)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.fc(self.avgpool(self.top(self.blocks(self.stem(pictures)))).flatten(1))
