"""What is done to a picture before the network sees it, in training. Evaluation uses the handlers' own way."""

import io

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter
from torch.utils.data import get_worker_info

from handlers.card import Preprocessing
from handlers.preprocessing import picture_to_tensor, pixels_to_tensor

_FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)


class EvaluationTransform:
    """What the server does, exactly."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.preprocessing = preprocessing

    def __call__(self, image: Image.Image) -> torch.Tensor:
        return picture_to_tensor(image, self.preprocessing)


class TrainingTransform:
    """A random square, native or resized, then the wear that pictures get on their way through the web.

    size: side of the result, in pixels. native: how often the square is cut out and not resized, so that the traces
    in single pixels stay. wear: how much of the wear below pictures get, from 0 (none) to 1 (every second one is
    recompressed). Both classes go through the same: no trace of the file that held a picture should separate them.
    Recompression comes last, as it does on the web.

    All randomness is drawn from a generator seeded by (seed, rank, loading worker, epoch): runs repeat themselves, and
    no two processes draw the same.
    """

    def __init__(
        self, preprocessing: Preprocessing, size: int, native: float, wear: float, seed: int, rank: int = 0
    ) -> None:
        self.preprocessing = preprocessing
        self.size = size
        self.native = native
        self.wear = wear
        self.seed, self.rank = seed, rank
        self.begin(epoch=0)

    def begin(self, epoch: int) -> None:
        """Set the epoch. Loading workers must start afterwards, as a DataLoader's do at each of its iterations."""
        self.epoch = epoch
        self._rng: np.random.Generator | None = None  # made by whoever draws first, which may be a loading worker

    def __call__(self, image: Image.Image) -> torch.Tensor:
        if self._rng is None:
            worker = get_worker_info()
            self._rng = np.random.default_rng([self.seed, self.rank, worker.id if worker else 0, self.epoch])
        rng = self._rng
        if rng.random() < 0.15 * self.wear:
            image = _down_and_up(image, rng)
        image = self._random_square(image, rng)
        if rng.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if rng.random() < 0.15 * self.wear:
            image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2)))
        if rng.random() < 0.3:
            for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
                image = enhance(image).enhance(rng.uniform(0.8, 1.2))
        if rng.random() < 0.5 * self.wear:
            image = _recompress(image, rng)
        pixels = np.array(image)
        if rng.random() < 0.1 * self.wear:
            noise = rng.normal(0, rng.uniform(1, 6), pixels.shape)
            pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
        return pixels_to_tensor(pixels, self.preprocessing)

    def _random_square(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        width, height = image.size
        shorter = min(width, height)
        side = self.size if rng.random() < self.native else round(shorter * rng.uniform(0.4, 1.0) ** 0.5)
        side = min(side, shorter)
        left, top = (int(rng.integers(room, endpoint=True)) for room in (width - side, height - side))
        return image.resize(
            (self.size, self.size), resample=_random_filter(rng), box=(left, top, left + side, top + side)
        )


def _random_filter(rng: np.random.Generator) -> Image.Resampling:
    return _FILTERS[rng.integers(len(_FILTERS))]


def _down_and_up(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    scale = rng.uniform(0.4, 0.9)
    small = (max(32, round(image.width * scale)), max(32, round(image.height * scale)))
    return image.resize(small, _random_filter(rng)).resize(image.size, _random_filter(rng))


def _recompress(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    buffer = io.BytesIO()
    image_format = "WEBP" if rng.random() < 0.25 else "JPEG"
    image.save(buffer, image_format, quality=int(rng.integers(30, 100, endpoint=True)))
    return Image.open(buffer).convert("RGB")
