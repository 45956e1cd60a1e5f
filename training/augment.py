"""What is done to an image before the network sees it, in training. Evaluation sees it as serving does.

Randomness comes from torch's generator alone: seeded once a process, and by DataLoader in each of its workers.
"""

import io

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter

from imagetrust.images.views import Preprocessing

_FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)


def normalise(pixels: np.ndarray, preprocessing: Preprocessing) -> torch.Tensor:
    """Return (H, W, 3) uint8 pixels as the network's input (3, H, W)."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    return (torch.from_numpy(pixels).permute(2, 0, 1).float() / 255 - mean) / std


class ServedViews:
    """An image as serving sees it: (views, size, size, 3) uint8."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.preprocessing = preprocessing

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Return the views."""
        return torch.from_numpy(self.preprocessing.pixels(image))


class Augmentation:
    """A random square, native or resized, then the corruptions that images get on their way through the web.

    size: side of the result, in pixels. native: how often the square is cut out and not resized, so that the traces in
    single pixels stay. strength: how many images the corruptions reach, from 0 to 1 (every second one is recompressed).
    All classes go through the same: no trace of the file that held an image should separate them. Recompression comes
    last, as it does on the web.
    """

    def __init__(self, preprocessing: Preprocessing, size: int, native: float, strength: float) -> None:
        self.preprocessing, self.size, self.native, self.strength = preprocessing, size, native, strength

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Return a random version, normalised: (3, size, size)."""
        return normalise(self.pixels(image), self.preprocessing)

    def pixels(self, image: Image.Image) -> np.ndarray:
        """Return a random version: (size, size, 3) uint8."""
        if _happens(0.15 * self.strength):
            image = _resample(image)
        image = self._random_square(image)
        if _happens(0.5):
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if _happens(0.15 * self.strength):
            image = image.filter(ImageFilter.GaussianBlur(_uniform(0.3, 1.2)))
        if _happens(0.3):
            for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
                image = enhance(image).enhance(_uniform(0.8, 1.2))
        if _happens(0.5 * self.strength):
            image = _recompress(image)
        pixels = np.array(image)
        if _happens(0.1 * self.strength):
            noise = torch.randn(pixels.shape).numpy() * _uniform(1, 6)
            pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
        return pixels

    def _random_square(self, image: Image.Image) -> Image.Image:
        width, height = image.size
        shorter = min(width, height)
        side = self.size if _happens(self.native) else round(shorter * _uniform(0.4, 1.0) ** 0.5)
        side = min(side, shorter)
        left, top = _integer(0, width - side), _integer(0, height - side)
        return image.resize((self.size, self.size), _any_filter(), (left, top, left + side, top + side))


def _happens(probability: float) -> bool:
    return float(torch.rand(())) < probability


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def _integer(low: int, high: int) -> int:
    """Return a random integer, both ends included."""
    return int(torch.randint(low, high + 1, ()))


def _any_filter() -> Image.Resampling:
    return _FILTERS[_integer(0, len(_FILTERS) - 1)]


def _resample(image: Image.Image) -> Image.Image:
    scale = _uniform(0.4, 0.9)
    small = (max(32, round(image.width * scale)), max(32, round(image.height * scale)))
    return image.resize(small, _any_filter()).resize(image.size, _any_filter())


def _recompress(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP" if _happens(0.25) else "JPEG", quality=_integer(30, 100))
    return Image.open(buffer).convert("RGB")


def cutmix(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Paste into each image a rectangle of another one of the batch (CutMix, Yun et al. 2019, arXiv 1905.04899).

    What an image shows then tells less of its label than what its pixels are like, everywhere in it. Unlike
    torchvision's CutMix each image of the batch gets a rectangle of its own, and labels of several tasks can be mixed.

    images: (N, 3, H, W). Returns the mixed images, in the same memory format; (N,) the index of the image that each
    rectangle came from; and (N,) the share of each image's area that stayed its own, uniform in 0..1 but for what the
    borders cut off a rectangle.
    """
    count, _, height, width = images.shape
    device = images.device
    partners = torch.randperm(count, device=device)
    half_side = (1 - torch.rand(count, device=device)).sqrt() / 2  # as a share of the image's
    middle = torch.rand(2, count, device=device)
    rows = (torch.arange(height, device=device) + 0.5) / height
    columns = (torch.arange(width, device=device) + 0.5) / width
    in_rows = (rows - middle[0, :, None]).abs() < half_side[:, None]
    in_columns = (columns - middle[1, :, None]).abs() < half_side[:, None]
    pasted = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    own_shares = 1 - pasted.float().mean(dim=(1, 2, 3))
    return torch.where(pasted, images[partners], images), partners, own_shares
