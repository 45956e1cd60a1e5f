"""Networks that were tried beside the released ones: importing this module lets training and evaluation run them.

The server does not know them. Each keeps the parameter names of what it is a variant of, so that the same initial
weights fit.
"""

import torch
from torch import nn
from torch.nn.functional import interpolate, pad

from handlers.efficientnet_lite import EfficientNetLite0
from handlers.network import ARCHITECTURES, resnet18


class NearestResidual(nn.Module):
    """What down- and upscaling by 2 with nearest neighbours loses (Tan et al. 2024, arXiv 2312.10461)."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        height, width = pixels.shape[-2:]
        coarse = interpolate(pixels[..., ::2, ::2], scale_factor=2.0, mode="nearest")
        return pixels - coarse[..., :height, :width]


class MedianResidual(nn.Module):
    """The pixels less the median of each 3 x 3 neighbourhood: noise, without the picture's content."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        windows = pad(pixels, (1, 1, 1, 1), mode="reflect").unfold(2, 3, 1).unfold(3, 3, 1)
        return pixels - windows.flatten(4).median(dim=4).values


class Spectrum(nn.Module):
    """The logarithm of the Fourier magnitude, low frequencies in the middle, at about unit scale."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        magnitude = torch.fft.fftshift(torch.fft.fft2(pixels.float(), norm="ortho"), dim=(-2, -1)).abs()
        return (magnitude + 1e-3).log() / 2


class Seeing(nn.Conv2d):
    """A first convolution that sees something made of the pixels, alone or beside them.

    Beside them, its weights start at zero: the network begins as the one whose weights it was given.
    """

    def __init__(self, like: nn.Conv2d, made: nn.Module, beside_pixels: bool) -> None:
        super().__init__(
            like.in_channels, like.out_channels, like.kernel_size, like.stride, like.padding, bias=False
        )  # fmt: skip
        self.made = made
        self.weight_made = nn.Parameter(torch.zeros_like(self.weight)) if beside_pixels else None

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        made = self.made(pixels)
        if self.weight_made is None:
            return super().forward(made)
        both = torch.cat([self.weight, self.weight_made], dim=1)
        return self._conv_forward(torch.cat([pixels, made.to(pixels.dtype)], dim=1), both, None)

    def _load_from_state_dict(self, state, prefix, *arguments) -> None:
        if self.weight_made is not None:
            state.setdefault(prefix + "weight_made", torch.zeros_like(self.weight))
        super()._load_from_state_dict(state, prefix, *arguments)


def lite0_seeing(made: type[nn.Module], beside_pixels: bool):
    """A maker of EfficientNet-Lite0 whose first convolution is a `Seeing`."""

    def make(num_classes: int) -> nn.Module:
        network = EfficientNetLite0(num_classes)
        network.stem[1] = Seeing(network.stem[1], made(), beside_pixels)
        return network

    return make


def resnet18_fine(num_classes: int) -> nn.Module:
    """ResNet18 with smaller early strides, as ArtiFact's authors did: no pooling before the first stage, 4 times the
    computation."""
    network = resnet18(num_classes)
    network.maxpool = nn.Identity()
    return network


def resnet18_top(num_classes: int) -> nn.Module:
    """ResNet18 of which only the last stage and the head are trained, as the old project did."""
    network = resnet18(num_classes)
    for name, parameter in network.named_parameters():
        parameter.requires_grad = name.startswith(("layer4.", "fc."))
    return network


ARCHITECTURES |= {
    "resnet18_top": resnet18_top,
    "resnet18_fine": resnet18_fine,
    "lite0_nearest": lite0_seeing(NearestResidual, beside_pixels=False),
    "lite0_pixels_and_nearest": lite0_seeing(NearestResidual, beside_pixels=True),
    "lite0_pixels_and_median": lite0_seeing(MedianResidual, beside_pixels=True),
    "lite0_spectrum": lite0_seeing(Spectrum, beside_pixels=False),
}
