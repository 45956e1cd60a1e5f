"""What happens to a picture between its maker and us: the degradations and the copies that protocols score.

Each takes an RGB picture and returns one. Fixed, not random: a protocol must do the same every time.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

Wear = Callable[[Image.Image], Image.Image]


def saved(image: Image.Image, image_format: str, quality: int) -> Image.Image:
    """The picture after being written to a file of that format and read again."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, quality=quality)
    return Image.open(buffer).convert("RGB")


def bounded(image: Image.Image, longest: int) -> Image.Image:
    """The picture with its longer side at most `longest` pixels, as web services scale uploads."""
    if max(image.size) <= longest:
        return image
    return scaled(image, longest / max(image.size))


def scaled(image: Image.Image, factor: float) -> Image.Image:
    """The picture, larger or smaller, with Pillow's default filter (bicubic)."""
    return image.resize((max(32, round(image.width * factor)), max(32, round(image.height * factor))))


def cropped(image: Image.Image, share: float) -> Image.Image:
    """The central part, `share` of each side."""
    width, height = round(image.width * share), round(image.height * share)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def noisy(image: Image.Image, deviation: float) -> Image.Image:
    """The picture with Gaussian noise of this standard deviation, in grey levels."""
    pixels = np.asarray(image, dtype=np.float32)
    noise = np.random.default_rng(0).normal(0, deviation, pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def turned(image: Image.Image, degrees: float) -> Image.Image:
    """The picture turned about its middle; what the corners lack is cut off."""
    return cropped(image.rotate(degrees, Image.Resampling.BICUBIC), 0.93)


DEGRADATIONS: dict[str, Wear] = {
    "clean": lambda image: image,
    "web": lambda image: saved(bounded(image, 768), "JPEG", 60),
    "hard": lambda image: saved(bounded(image, 512), "JPEG", 40),
    # What a screen shows of it at a scale of 125 %, captured and sent by a messenger.
    "screenshot": lambda image: saved(image.resize(scaled(image, 1.25).size, Image.Resampling.BILINEAR), "JPEG", 85),
}

COPIES: dict[str, Wear] = {
    "JPEG 90": lambda image: saved(image, "JPEG", 90),
    "JPEG 70": lambda image: saved(image, "JPEG", 70),
    "WebP 80": lambda image: saved(image, "WEBP", 80),
    "scaled 0.5": lambda image: scaled(image, 0.5),
    "scaled 0.75": lambda image: scaled(image, 0.75),
    "scaled 1.5": lambda image: scaled(image, 1.5),
    "scaled 2": lambda image: scaled(image, 2),
    "cropped 0.9": lambda image: cropped(image, 0.9),
}

HIDING: dict[str, Wear] = {
    "none": lambda image: image,
    "blur 0.7": lambda image: image.filter(ImageFilter.GaussianBlur(0.7)),
    "blur 1.5": lambda image: image.filter(ImageFilter.GaussianBlur(1.5)),
    "noise 4": lambda image: noisy(image, 4),
    "noise 10": lambda image: noisy(image, 10),
    "JPEG 30": lambda image: saved(image, "JPEG", 30),
    "scaled 0.5": lambda image: scaled(image, 0.5),
    "down and up": lambda image: scaled(image, 0.5).resize(image.size, Image.Resampling.BICUBIC),
    "turned 3": lambda image: turned(image, 3),
}
