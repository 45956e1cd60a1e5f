"""What is done to a picture before the network sees it, in training. Evaluation uses the handlers' own way."""

import io
import random

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter

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
    """

    def __init__(self, preprocessing: Preprocessing, size: int, native: float, wear: float) -> None:
        self.preprocessing = preprocessing
        self.size = size
        self.native = native
        self.wear = wear

    def __call__(self, image: Image.Image) -> torch.Tensor:
        if random.random() < 0.15 * self.wear:
            image = _down_and_up(image)
        image = self._random_square(image)
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if random.random() < 0.15 * self.wear:
            image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 1.2)))
        if random.random() < 0.3:
            for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
                image = enhance(image).enhance(random.uniform(0.8, 1.2))
        if random.random() < 0.5 * self.wear:
            image = _recompress(image)
        pixels = np.array(image)
        if random.random() < 0.1 * self.wear:
            noise = np.random.default_rng(random.getrandbits(32)).normal(0, random.uniform(1, 6), pixels.shape)
            pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
        return pixels_to_tensor(pixels, self.preprocessing)

    def _random_square(self, image: Image.Image) -> Image.Image:
        width, height = image.size
        shorter = min(width, height)
        side = self.size if random.random() < self.native else round(shorter * random.uniform(0.4, 1.0) ** 0.5)
        side = min(side, shorter)
        left, top = random.randint(0, width - side), random.randint(0, height - side)
        return image.resize(
            (self.size, self.size), resample=random.choice(_FILTERS), box=(left, top, left + side, top + side)
        )


def _down_and_up(image: Image.Image) -> Image.Image:
    scale = random.uniform(0.4, 0.9)
    small = (max(32, round(image.width * scale)), max(32, round(image.height * scale)))
    return image.resize(small, random.choice(_FILTERS)).resize(image.size, random.choice(_FILTERS))


def _recompress(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image_format = "WEBP" if random.random() < 0.25 else "JPEG"
    image.save(buffer, image_format, quality=random.randint(30, 100))
    return Image.open(buffer).convert("RGB")
