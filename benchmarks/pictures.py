"""The pictures that are sent: photographs that come with the install, at the sizes of screens and cameras.

JPEG at quality 90 with colour at half resolution (4:2:0), as cameras write it. The two small sizes are the photographs
resized; 12 megapixels are the photographs at about their own size, mirrored side by side without a seam, so that there
is as much detail a pixel to decode as in a camera's file.
"""

import io
from pathlib import Path

from PIL import Image, ImageOps

from server.samples import photograph

SIZES = {"640x480": (640, 480), "1024x768": (1024, 768), "4000x3000": (4000, 3000)}
PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg",
    "motorcycle_left.png", "rocket.jpg",
)  # fmt: skip
QUALITY = 90
_TILE = (512, 384)
_RESIZED = (1024, 768)  # up to here a photograph is resized; beyond, that would leave a blur, which costs less


def pictures(size: tuple[int, int]) -> list[bytes]:
    """The photographs at one size (width, height), in pixels, as JPEG."""
    made = []
    for name in PHOTOGRAPHS:
        buffer = io.BytesIO()
        with Image.open(photograph(name)) as image:
            _at_size(image.convert("RGB"), size).save(buffer, "JPEG", quality=QUALITY, subsampling="4:2:0")
        made.append(buffer.getvalue())
    return made


def write_pictures(folder: Path, size: tuple[int, int]) -> list[Path]:
    """`pictures` as files in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, data in zip(PHOTOGRAPHS, pictures(size), strict=True):
        paths.append(folder / f"{Path(name).stem}_{size[0]}x{size[1]}.jpg")
        paths[-1].write_bytes(data)
    return paths


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
