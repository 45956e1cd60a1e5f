"""Whether the EXIF thumbnail shows the image it stands in: programs change the one and forget the other."""

import io

import numpy as np
from PIL import Image, ImageOps

from imagetrust.provenance.bounds import MAX_THUMBNAIL_PIXELS, check_size
from imagetrust.provenance.finding import NOTHING, Finding, Reading
from imagetrust.provenance.opened_file import OpenedFile

_ORIENTATION = 0x0112
_START, _LENGTH = 0x0201, 0x0202  # JPEGInterchangeFormat and its length
_GRID = 32  # pixels of the sides that are compared
_SAME_SHAPE = 0.03  # relative difference of the aspect ratios that rounding to whole pixels leaves
_SAME_CONTENT = 0.85  # correlation; recompression and sharpening stay above 0.95, another crop falls below
_FLAT = 4.0  # standard deviation of grey levels below which two images cannot be told apart


def read_thumbnail(file: OpenedFile) -> Reading:
    """One finding where there is a thumbnail: whether it has the image's shape and shows the same.

    Raises what Pillow raises on a thumbnail that does not decode, TooLarge on one that is none.
    """
    content = _content(file)
    if not content:
        return NOTHING
    with Image.open(io.BytesIO(content), formats=("JPEG",)) as opened:
        check_size(opened.width * opened.height, MAX_THUMBNAIL_PIXELS, "pixels")
        stored = opened.convert("L")
    picture = file.decoded.image
    # Cameras store it as the sensor saw it, some phones upright: whichever fits is meant.
    candidates = [_turned(stored, file.decoded.exif.get(_ORIENTATION, 1)), stored]
    compared = [_compare(picture, candidate) for candidate in candidates]
    same_shape, correlation = max(compared, key=lambda one: (one[0], one[1] if one[1] is not None else 1.0))
    same_content = correlation is None or correlation >= _SAME_CONTENT
    values: dict[str, object] = {
        "width": stored.width,
        "height": stored.height,
        "same_shape": same_shape,
        "same_content": same_content,
    }
    if correlation is not None:
        values["correlation"] = round(correlation, 3)
    if same_shape and same_content:
        detail = "The embedded thumbnail shows the picture."
    elif same_content:
        detail = "The embedded thumbnail has another shape than the picture: it was cropped or stretched afterwards."
    else:
        detail = "The embedded thumbnail shows something else than the picture: it was changed afterwards."
    return Reading((Finding("thumbnail", "nothing", detail, values),))


def _content(file: OpenedFile) -> bytes:
    block = file.readable_exif
    if not block or file.is_tiff:
        return b""
    directory = block.second()
    start, length = directory.get(_START), directory.get(_LENGTH)
    if not isinstance(start, int) or not isinstance(length, int) or start <= 0 or length <= 0:
        return b""
    return bytes(block.data[start : start + length])


def _turned(stored: Image.Image, orientation: object) -> Image.Image:
    turned = stored.copy()
    turned.getexif()[_ORIENTATION] = orientation
    return ImageOps.exif_transpose(turned)


def _compare(picture: Image.Image, thumbnail: Image.Image) -> tuple[bool, float | None]:
    """Whether the shapes agree, black bars not counted, and the correlation of the contents: None for flat ones."""
    shown = _without_bars(thumbnail, picture.width / picture.height)
    ratio = (shown.width / shown.height) / (picture.width / picture.height)
    # Every nth pixel first: averaging all of a large image would cost more than the rest of the reading.
    coarse = picture.resize((8 * _GRID, 8 * _GRID), Image.Resampling.NEAREST).convert("L")
    grids = [np.asarray(image.resize((_GRID, _GRID), Image.Resampling.BOX), np.float64) for image in (coarse, shown)]
    # One pixel of rounding on a side of a small thumbnail is no difference.
    same_shape = abs(ratio - 1) <= _SAME_SHAPE + 1 / min(shown.size)
    if min(grid.std() for grid in grids) < _FLAT:
        return same_shape, None
    return same_shape, float(np.corrcoef(grids[0].ravel(), grids[1].ravel())[0, 1])


def _without_bars(thumbnail: Image.Image, ratio: float) -> Image.Image:
    """Return the central part with the image's aspect ratio, where the rest is flat: cameras fill up to 4:3."""
    width, height = thumbnail.size
    if width / height > ratio:
        side = (width - round(height * ratio)) // 2
        bars = [(0, 0, side, height), (width - side, 0, width, height)]
        inner = (side, 0, width - side, height)
    else:
        side = (height - round(width / ratio)) // 2
        bars = [(0, 0, width, side), (0, height - side, width, height)]
        inner = (0, side, width, height - side)
    if side < 1 or inner[0] >= inner[2] or inner[1] >= inner[3]:
        return thumbnail
    # The bars' inner edge may be blurred by compression.
    flat = all(np.asarray(thumbnail.crop(bar)).std() < 4 * _FLAT and _mean(thumbnail, bar) < 32 for bar in bars)
    return thumbnail.crop(inner) if flat else thumbnail


def _mean(image: Image.Image, box: tuple[int, int, int, int]) -> float:
    return float(np.asarray(image.crop(box)).mean())
