"""What happens to an image between its maker and the server: fixed corruptions, the same every time.

Each takes an RGB image and returns one.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

Corruption = Callable[[Image.Image], Image.Image]

_MIN_SIDE = 32  # pixels, below which nothing is scaled


def recompress(image: Image.Image, image_format: str, quality: int) -> Image.Image:
    """Return the image after being written to a file of a format and read again."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, quality=quality)
    return Image.open(buffer).convert("RGB")


def resize_by(image: Image.Image, factor: float) -> Image.Image:
    """Return the image, larger or smaller, by Pillow's default filter (bicubic)."""
    return image.resize((max(_MIN_SIDE, round(image.width * factor)), max(_MIN_SIDE, round(image.height * factor))))


def limit_side(image: Image.Image, longest: int) -> Image.Image:
    """Return the image with its longer side at most `longest` pixels, as web services scale uploads."""
    return image if max(image.size) <= longest else resize_by(image, longest / max(image.size))


def crop_centre(image: Image.Image, fraction: float) -> Image.Image:
    """Return the central part, `fraction` of each side."""
    width, height = round(image.width * fraction), round(image.height * fraction)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def add_noise(image: Image.Image, std: float) -> Image.Image:
    """Return the image with Gaussian noise of this standard deviation, in grey levels."""
    pixels = np.asarray(image, dtype=np.float32)
    noise = np.random.default_rng(0).normal(0, std, pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def rotate(image: Image.Image, degrees: float) -> Image.Image:
    """Return the image rotated about its centre, without the corners that a slight rotation leaves empty."""
    return crop_centre(image.rotate(degrees, Image.Resampling.BICUBIC), 0.93)


def screenshot(image: Image.Image) -> Image.Image:
    """Return what a screen shows of the image at a scale of 125 %, captured and sent by a messenger."""
    shown = image.resize(resize_by(image, 1.25).size, Image.Resampling.BILINEAR)
    return recompress(shown, "JPEG", 85)


DEGRADATIONS: dict[str, Corruption] = {
    "clean": lambda image: image,
    "web": lambda image: recompress(limit_side(image, 768), "JPEG", 60),
    "hard": lambda image: recompress(limit_side(image, 512), "JPEG", 40),
    "screenshot": screenshot,
}

COPIES: dict[str, Corruption] = {
    "JPEG 90": lambda image: recompress(image, "JPEG", 90),
    "JPEG 70": lambda image: recompress(image, "JPEG", 70),
    "WebP 80": lambda image: recompress(image, "WEBP", 80),
    "resized 0.5": lambda image: resize_by(image, 0.5),
    "resized 0.75": lambda image: resize_by(image, 0.75),
    "resized 1.5": lambda image: resize_by(image, 1.5),
    "resized 2": lambda image: resize_by(image, 2),
    "cropped 0.9": lambda image: crop_centre(image, 0.9),
}

EVASION: dict[str, Corruption] = {
    "none": lambda image: image,
    "blur 0.7": lambda image: image.filter(ImageFilter.GaussianBlur(0.7)),
    "blur 1.5": lambda image: image.filter(ImageFilter.GaussianBlur(1.5)),
    "noise 4": lambda image: add_noise(image, 4),
    "noise 10": lambda image: add_noise(image, 10),
    "JPEG 30": lambda image: recompress(image, "JPEG", 30),
    "resized 0.5": lambda image: resize_by(image, 0.5),
    "resized down and up": lambda image: resize_by(image, 0.5).resize(image.size, Image.Resampling.BICUBIC),
    "rotated 3": lambda image: rotate(image, 3),
}
