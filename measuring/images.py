"""The images that are sent: photographs that come with the installation, at the sizes of screens and cameras.

Up to 1024x768 a photograph is resized. A larger image is the photograph at about its own size, mirrored side by side
without a seam: enlarged, it would be a blur that decodes cheaply.
"""

import io

import numpy as np
import pillow_heif
from PIL import Image, ImageOps

from server.samples import photograph

PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png", "gravel.png",
    "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png", "retina.jpg", "rocket.jpg",
)  # fmt: skip
QUALITY, HEIC_QUALITY = 90, 60  # of JPEG and WebP; of HEIC, whose scale is another: about 2 bits a pixel, as phones
_RESIZED = (1024, 768)
_TILE = (512, 384)


def encode(name: str, width: int, height: int, file_format: str = "JPEG", grain: float = 0.0) -> bytes:
    """Return one of PHOTOGRAPHS as a file; JPEG and HEIC with colour at half resolution (4:2:0), as cameras write it.

    grain: standard deviation of the noise that is added, in levels of 255; it stands in for the fine detail that
    resizing takes away.
    """
    image, buffer = picture(name, width, height, grain), io.BytesIO()
    if file_format == "HEIC":
        # The encoder's own preset takes 18 s for 12 megapixels, this one 2 s.
        pillow_heif.from_pillow(image).save(buffer, quality=HEIC_QUALITY, enc_params={"preset": "ultrafast"})
    else:
        image.save(buffer, file_format, quality=QUALITY, **({"subsampling": "4:2:0"} if file_format == "JPEG" else {}))
    return buffer.getvalue()


def picture(name: str, width: int, height: int, grain: float = 0.0) -> Image.Image:
    """Return one of PHOTOGRAPHS at a size, RGB. grain: as of `encode`."""
    with Image.open(photograph(name)) as opened:
        image = _at_size(opened.convert("RGB"), (width, height))
    if not grain:
        return image
    pixels = np.asarray(image, dtype=np.float32)
    noise = np.random.default_rng(0).normal(0, grain, pixels.shape).astype(np.float32)
    return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))


def _at_size(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    if size[0] <= _RESIZED[0] and size[1] <= _RESIZED[1]:
        return image.resize(size)
    tile = image.resize(_TILE)
    mosaic = Image.new("RGB", size)
    for row in range(-(-size[1] // _TILE[1])):
        for column in range(-(-size[0] // _TILE[0])):
            turned = ImageOps.mirror(tile) if column % 2 else tile
            mosaic.paste(ImageOps.flip(turned) if row % 2 else turned, (column * _TILE[0], row * _TILE[1]))
    return mosaic
