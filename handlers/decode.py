"""From the bytes of a file to an upright RGB picture, within the limits, checked before anything is decoded."""

import io
import warnings
from dataclasses import dataclass

import numpy as np
import pi_heif
from PIL import Image, ImageOps, UnidentifiedImageError

from handlers import limits
from handlers.errors import RequestError

pi_heif.register_heif_opener()

# Size is checked against our own limit, in the header; Pillow's second guard would only warn at half of its own.
Image.MAX_IMAGE_PIXELS = limits.MAX_PIXELS

_ORIENTATION = 0x0112  # the EXIF tag
_LYING = (5, 6, 7, 8)  # its values under which width and height change places


@dataclass(frozen=True)
class Picture:
    """A decoded picture and what its file says of itself.

    image: RGB, 8 bits a channel, turned upright after its EXIF orientation; smaller than the file's picture where
        decoding was told how much is needed.
    size: (width, height) of the file's picture, upright.
    format: one of limits.FORMATS.
    exif: the file's EXIF tags as Pillow reads them, before the orientation was applied.
    """

    image: Image.Image
    size: tuple[int, int]
    format: str
    mode: str
    byte_count: int
    exif: Image.Exif


def decode(data: bytes, needed: int | None = None) -> Picture:
    """Decodes one file: the first frame where there are several.

    needed: a shorter side, in pixels, that is enough. A JPEG is then decoded at 1/2, 1/4 or 1/8 of its size as long as
        that much is left, which saves most of the time and memory of a large one. All of it where not given.
    Raises RequestError where the file is empty, too large, of an unknown format, broken, or outside the limits.
    """
    if not data:
        raise RequestError("empty_body", "The request carries no picture.")
    if len(data) > limits.MAX_BYTES:
        raise RequestError(
            "too_many_bytes",
            f"The file has {len(data)} bytes; the limit is {limits.MAX_BYTES}.",
            limit=limits.MAX_BYTES,
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata is reported in the answer, not in the worker's log
            return _decode(data, needed)
    except (RequestError, MemoryError):  # too little memory is no fault of the file
        raise
    except Image.DecompressionBombError as error:  # Pillow's own check of the header, at twice our limit
        raise RequestError(
            "too_many_pixels", f"The limit is {limits.MAX_PIXELS} pixels: {error}", limit=limits.MAX_PIXELS
        ) from error
    except UnidentifiedImageError as error:
        raise RequestError(
            "unknown_format",
            f"The file is not a picture in a supported format ({', '.join(limits.FORMATS)}).",
            formats=list(limits.FORMATS),
        ) from error
    except Exception as error:  # decoders raise whatever their format's author chose, OSError to struct.error
        raise RequestError("broken_picture", f"The picture cannot be decoded: {error}") from error


def _decode(data: bytes, needed: int | None) -> Picture:
    with Image.open(io.BytesIO(data), formats=limits.FORMATS) as opened:
        _check_size(*opened.size)
        # MPO is a JPEG with further pictures behind the first, as many cameras write for previews.
        picture_format = "JPEG" if opened.format == "MPO" else opened.format
        mode = opened.mode
        exif = opened.getexif()
        stored_size = opened.size
        if needed and picture_format == "JPEG":
            shrink = min(stored_size) / needed
            opened.draft(None, (int(stored_size[0] / shrink), int(stored_size[1] / shrink)))
        is_smaller = opened.size != stored_size
        opened.load()
        upright = _turn_upright(opened, exif)
        image = _to_rgb(upright)
    _check_size(*image.size)
    size = image.size
    if is_smaller:
        size = stored_size[::-1] if exif.get(_ORIENTATION, 1) in _LYING else stored_size
    return Picture(image=image, size=size, format=picture_format, mode=mode, byte_count=len(data), exif=exif)


def _check_size(width: int, height: int) -> None:
    if width * height > limits.MAX_PIXELS:
        raise RequestError(
            "too_many_pixels",
            f"The picture has {width} x {height} pixels; the limit is {limits.MAX_PIXELS}.",
            limit=limits.MAX_PIXELS,
        )
    if min(width, height) < limits.MIN_SIDE:
        raise RequestError(
            "too_small",
            f"The picture has {width} x {height} pixels; each side must have at least {limits.MIN_SIDE}.",
            limit=limits.MIN_SIDE,
        )


def _turn_upright(image: Image.Image, exif: Image.Exif) -> Image.Image:
    if exif.get(_ORIENTATION, 1) == 1:
        return image
    return ImageOps.exif_transpose(image)


def _to_rgb(image: Image.Image) -> Image.Image:
    """16-bit grey is scaled rather than clipped; what is transparent is shown on white, as a browser would."""
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_to_eight_bits(np.asarray(image)), mode="L").convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layered = image.convert("RGBA")
        background = Image.new("RGBA", layered.size, "white")
        return Image.alpha_composite(background, layered).convert("RGB")
    return image.convert("RGB")


def _to_eight_bits(grey: np.ndarray) -> np.ndarray:
    """Integers as 16 bits; floats as 0..1 where they fit and as 0..255 where they do not."""
    if np.issubdtype(grey.dtype, np.floating):
        grey = np.nan_to_num(grey)
        scale = 255.0 if grey.max(initial=0.0) <= 1.0 else 1.0
        return np.clip(grey * scale + 0.5, 0, 255).astype(np.uint8)
    return (np.clip(grey, 0, 65535).astype(np.uint32) * 255 // 65535).astype(np.uint8)
