"""Pictures that the tests make themselves: what they need of formats, and a small data set in ArtiFact's layout.

No generator and no camera is involved. The four kinds differ in the traces that real ones leave: sensor noise,
the checkerboard of upsampling, over-smooth surfaces, and flat shaded polygons.
"""

import csv
import io
from pathlib import Path

import numpy as np
from PIL import Image

SOURCES = {  # source -> (family, target in metadata.csv)
    "camera_a": ("real", 0),
    "camera_b": ("real", 0),
    "checker_gan": ("gan", 1),
    "smooth_diffusion": ("diffusion", 2),
    "polygon_render": ("other", 3),
}


def scene(rng: np.random.Generator, width: int = 200, height: int = 200) -> np.ndarray:
    """A smooth random picture, (height, width, 3) float 0..255."""
    coarse = rng.uniform(30, 225, (6, 6, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).astype(float)


def picture(family: str, rng: np.random.Generator) -> Image.Image:
    """A 200 x 200 picture with the trace of a family."""
    pixels = scene(rng)
    if family == "real":
        pixels += rng.normal(0, 25, pixels.shape)
    elif family == "gan":
        pixels[::2, ::2] += 30
        pixels[1::2, 1::2] -= 30
    elif family == "other":
        pixels = (pixels // 48) * 48
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def make_data_set(root: Path, per_source: int, seed: int = 0) -> Path:
    """Writes an ArtiFact root with these sources and returns it."""
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True, exist_ok=True)
    with (root / "sources.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["source", "family", "generator"])
        writer.writerows((source, family, source) for source, (family, _) in SOURCES.items())
    for source, (family, target) in SOURCES.items():
        folder = root / source
        folder.mkdir(exist_ok=True)
        with (folder / "metadata.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["filename", "image_path", "target", "category", "origin"])
            for number in range(per_source):
                name = f"img{number:06d}.jpg"
                picture(family, rng).save(folder / name, quality=90)
                writer.writerow([name, name, target, "mixed", f"{source}_{number:05d}.png"])
    return root


def encoded(image: Image.Image, image_format: str, **options) -> bytes:
    """The bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()
