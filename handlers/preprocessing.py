"""From a decoded picture to the network's input. Training and serving both call this, and nothing else does it."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from handlers.card import Preprocessing


@dataclass(frozen=True)
class View:
    """The part of a picture that the network sees, in the picture's own pixels, right and bottom exclusive."""

    left: int
    top: int
    right: int
    bottom: int


def central_view(width: int, height: int, crop: float) -> View:
    """The centred square of `crop` times the shorter side. Cropped before resizing, long pictures do not grow."""
    side = max(1, round(min(width, height) * crop))
    left, top = (width - side) // 2, (height - side) // 2
    return View(left, top, left + side, top + side)


_GAP = 1.5  # by how much at least the resize shrinks what a JPEG's own scaling has left: measured in docs/backends.md


def needed_side(preprocessing: Preprocessing) -> int:
    """The shorter side, in pixels, below which decoding must not scale a picture down (handlers.decode)."""
    return math.ceil(_GAP * preprocessing.size / preprocessing.crop)


def pixels_to_tensor(pixels: np.ndarray, preprocessing: Preprocessing) -> torch.Tensor:
    """(H, W, 3) uint8 to (3, H, W) float32, normalised."""
    mean = torch.tensor(preprocessing.mean).view(3, 1, 1)
    std = torch.tensor(preprocessing.std).view(3, 1, 1)
    return (torch.from_numpy(pixels).permute(2, 0, 1).float() / 255 - mean) / std


def picture_to_pixels(image: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
    """The view of an RGB picture of any size, as (size, size, 3) uint8."""
    view = central_view(*image.size, preprocessing.crop)
    resized = image.resize(
        (preprocessing.size, preprocessing.size),
        resample=Image.Resampling[preprocessing.interpolation.upper()],
        box=(view.left, view.top, view.right, view.bottom),
    )
    return np.array(resized)


def picture_to_tensor(image: Image.Image, preprocessing: Preprocessing) -> torch.Tensor:
    """An RGB picture of any size to (3, size, size) float32."""
    return pixels_to_tensor(picture_to_pixels(image, preprocessing), preprocessing)
