"""From the bytes of a file to an upright RGB image, within the limits, checked before anything is decoded."""

import hashlib
import io
import re
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import cv2
import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from imagetrust import limits
from imagetrust.errors import RequestError
from imagetrust.images.damage import readable_files
from imagetrust.images.decoding_memory import decoding_bytes, is_animated_webp
from imagetrust.images.jpeg_scans import at_an_eighth
from imagetrust.images.unsupported import frame_fault, tiff_layout, unsupported_kind

pillow_heif.register_heif_opener()
Image.SAVE.pop("HEIF", None)  # nothing here writes HEIC
Image.SAVE_ALL.pop("HEIF", None)

# Size is checked against our own limit, in the header; Pillow's second guard would only warn at half of its own.
Image.MAX_IMAGE_PIXELS = limits.MAX_PIXELS
# An image in one block of memory can be given another mode without a copy (_as_rgb).
Image.core.set_use_block_allocator(1)  # type: ignore[attr-defined]

_ORIENTATION = 0x0112  # the EXIF tag
_LYING = (5, 6, 7, 8)  # its values under which width and height change places
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
_SAMPLE_FORMAT, _SIGNED = 339, 2  # a TIFF tag, and its value for integers that may be negative
_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # further tags, and the second one's value for inverted grey
# How the libraries say that they do not read a file of this kind, as against one that is damaged.
_REFUSED_BY_LIBRARY = re.compile("unsupported|not supported|not yet supported|cannot handle", re.IGNORECASE)
# Of a JPEG. Pillow joins their contents with a copy for each, which takes seconds for ten thousand.
_MAX_EXIF_SEGMENTS = 64
_BAND_PIXELS = 100_000  # how much of an image is converted at a time: what a core's own cache holds
_EVERY_CHANNEL = np.uint32(0x01010101)


@dataclass(frozen=True)
class DecodedImage:
    """A decoded image and what its file says of itself.

    image: RGB, 8 bits a channel, turned upright after its EXIF orientation; smaller than the file's image where
        decoding was told how much is needed.
    size: (width, height) of the file's image, upright.
    format: one of limits.FORMATS.
    exif: the file's EXIF tags as Pillow reads them, before the orientation was applied.
    """

    image: Image.Image
    size: tuple[int, int]
    format: str
    mode: str
    byte_count: int
    exif: Image.Exif

    def facts(self) -> dict[str, Any]:
        """Return the member `file` of an answer; `mode` is Pillow's name of the colour mode as stored."""
        width, height = self.size
        return {
            "format": self.format,
            "width": width,
            "height": height,
            "bytes": self.byte_count,
            "mode": self.mode,
        }


@dataclass(frozen=True)
class _Header:
    """What is kept of an opened file. size: (width, height) as stored, where it was decoded at a part of it."""

    format: str
    mode: str
    exif: Image.Exif
    orientation: int
    size: tuple[int, int] | None


def decode(data: bytes, min_side: int | None = None) -> DecodedImage:
    """Decode one file: the first frame where there are several.

    min_side: a shorter side, in pixels, that is enough. A JPEG is then decoded at 1/2, 1/4 or 1/8 of its size as long
        as that much is left, which saves most of the time and memory of a large one; at 1/8 a progressive one without
        the scans that decide on nothing there. All of it where not given.
    A PNG's ancillary chunks are left out where they do not decide on the pixels or their checksum is wrong, as libpng
    does. A JPEG without an end marker is decoded where all of its pixels are there.
    Raises RequestError where the file is empty, too large, of an unknown or unsupported format, broken, or outside the
    limits.
    """
    if not data:
        raise RequestError("empty_body", "The request carries no picture.")
    if len(data) > limits.MAX_BYTES:
        raise RequestError(
            "too_many_bytes",
            f"The file has {len(data)} bytes; the limit is {limits.MAX_BYTES}.",
            limit=limits.MAX_BYTES,
        )
    if kind := unsupported_kind(data):
        raise _unsupported(kind)
    if fault := frame_fault(data):
        raise _not_decoded(OSError(fault))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata is reported in the answer, not in the worker's log
            return _decode(data, min_side)
    except (RequestError, MemoryError):  # too little memory is no fault of the file
        raise
    except Image.DecompressionBombError as error:  # Pillow's own check of the header, at twice our limit
        raise RequestError(
            "too_many_pixels", f"The picture has over {limits.MAX_PIXELS} pixels, the limit.", limit=limits.MAX_PIXELS
        ) from error
    except UnidentifiedImageError as error:
        raise _not_opened(data) from error
    except Exception as error:  # decoders raise whatever their format's author chose, OSError to struct.error
        raise _not_decoded(error) from error


def _unsupported(kind: str) -> RequestError:
    return RequestError(
        "unsupported_format",
        f"The file is {kind}, which is not supported; send it as JPEG or PNG.",
        formats=list(limits.FORMATS),
    )


def _not_decoded(error: Exception) -> RequestError:
    if _REFUSED_BY_LIBRARY.search(str(error)):
        return RequestError(
            "unsupported_format",
            f"The picture is of a kind that is not supported: {error}.",
            formats=list(limits.FORMATS),
        )
    return RequestError("broken_picture", f"The picture cannot be decoded: {error}")


def _not_opened(data: bytes) -> RequestError:
    """Say why Pillow opens no file with these bytes: what the format that they begin like says, if there is one."""
    for name in limits.FORMATS:
        plugin, accepts = Image.OPEN[name]
        if not accepts or accepts(data[:16]) is not True:
            continue
        if name == "TIFF" and (layout := tiff_layout(data)):
            return _unsupported(layout)
        try:
            plugin(io.BytesIO(data), "")
        except Exception as error:  # as above
            return _not_decoded(error)
    return RequestError(
        "unknown_format",
        f"The file is not a picture in a supported format ({', '.join(limits.FORMATS)}).",
        formats=list(limits.FORMATS),
    )


def _decode(data: bytes, min_side: int | None) -> DecodedImage:
    first, *others = readable_files(data)
    header, image = _load(data, first, min_side)
    for other in others:
        digest = _digest(image)
        del image
        header, image = _load(data, other, min_side)
        if _digest(image) != digest:
            raise OSError("image file is truncated")
    if header.orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[header.orientation])
    image = _as_rgb(image)
    width, height = header.size or image.size
    size = (height, width) if header.size and header.orientation in _LYING else (width, height)
    _check_size(*image.size)
    return DecodedImage(image, size, header.format, header.mode, len(data), header.exif)


def _load(data: bytes, readable: IO[bytes], min_side: int | None) -> tuple["_Header", Image.Image]:
    """Decode an opaque image, not turned. What it was made from is let go.

    readable: the file as a decoder takes it, without its damage.
    """
    if data.startswith(b"\xff\xd8") and data.count(b"Exif\0\0") > _MAX_EXIF_SEGMENTS:
        raise OSError(f"its EXIF data are in more than {_MAX_EXIF_SEGMENTS} segments")
    with Image.open(readable, formats=limits.FORMATS) as opened:
        _check_size(*opened.size)
        # MPO is a JPEG with further images behind the first, as many cameras write for previews.
        picture_format = "JPEG" if opened.format == "MPO" else str(opened.format)
        mode, stored_size = opened.mode, opened.size
        if picture_format == "PNG":
            opened.load()  # its EXIF may come after the pixels
        exif = _read_exif(opened)
        if min_side and picture_format == "JPEG":
            shrink = min(stored_size) / min_side
            opened.draft(None, (int(stored_size[0] / shrink), int(stored_size[1] / shrink)))
        is_turned = exif.get(_ORIENTATION, 1) in _UPRIGHT
        _check_memory(stored_size, decoding_bytes(opened, data, stored_size, is_turned))
        reduced_from = stored_size if opened.size != stored_size else None
        is_eighth = picture_format == "JPEG" and opened.width == -(-stored_size[0] // 8)
        if is_eighth and "progressive" in opened.info and (shorter := at_an_eighth(data)):
            opened.fp = shorter
        covered = _first_frame(opened, data)
        if picture_format == "WEBP" and not is_animated_webp(data):
            image = _still_webp(data)
        else:
            opened.load()
            image = _opaque(opened)
        if covered:
            image = _as_rgb(image)
            _whiten_around(image, covered)
        # Pillow has turned a TIFF upright by now, and deleted its orientation.
        return _Header(picture_format, mode, exif, exif.get(_ORIENTATION, 1), reduced_from), image


def _digest(image: Image.Image) -> bytes:
    digest = hashlib.sha256()
    for _, band in _bands(image):
        digest.update(band.tobytes())
    return digest.digest()


def _first_frame(opened: Image.Image, data: bytes) -> tuple[int, int, int, int] | None:
    """Return the box that the first frame of an animation covers, where that is not all of it."""
    box: tuple[int, int, int, int] = (0, 0, *opened.size)
    if opened.format == "GIF":
        box = opened.tile[0].extents  # type: ignore[attr-defined]
    elif opened.format == "WEBP" and is_animated_webp(data) and (start := data.find(b"ANMF", 30)) >= 0:
        # The container's document: X and Y in units of 2 pixels, width and height less 1, 24 bits each.
        across, down, width, height = (
            int.from_bytes(data[at : at + 3], "little") for at in range(start + 8, start + 20, 3)
        )
        box = (2 * across, 2 * down, 2 * across + width + 1, 2 * down + height + 1)
    return box if box != (0, 0, *opened.size) else None


def _whiten_around(image: Image.Image, box: tuple[int, int, int, int]) -> None:
    """Paint an RGB image white outside the box, as browsers show what a first frame leaves uncovered."""
    left, top, right, bottom = box
    width, height = image.size
    for outside in (
        (0, 0, width, top),
        (0, bottom, width, height),
        (0, top, left, bottom),
        (right, top, width, bottom),
    ):
        if outside[0] < outside[2] and outside[1] < outside[3]:
            image.paste("white", outside)


def _read_exif(opened: Image.Image) -> Image.Exif:
    """Read the EXIF tags, without the orientation that Pillow would take from XMP: browsers do not look there.

    Broken EXIF data are none here, since a browser shows the image all the same.
    """
    exif = Image.Exif()
    try:
        if opened.info.get("exif"):
            exif.load(opened.info["exif"])
            return exif
        for name in ("xmp", "XML:com.adobe.xmp"):
            opened.info.pop(name, None)
        return opened.getexif()
    except (SyntaxError, ValueError, struct.error):
        return Image.Exif()


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


def _check_memory(size: tuple[int, int], taken: int) -> None:
    if taken > limits.MAX_DECODING_BYTES:
        limit = size[0] * size[1] * limits.MAX_DECODING_BYTES // taken
        raise RequestError(
            "too_many_pixels",
            f"The picture has {size[0]} x {size[1]} pixels; the limit for a file of this kind is {limit}, "
            f"since decoding it takes more memory than others.",
            limit=limit,
        )


def _still_webp(data: bytes) -> Image.Image:
    """Decode by OpenCV, which calls the same library as Pillow and takes half the memory."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise OSError("the WebP data are truncated or broken")
    has_alpha = pixels.shape[2] == 4
    pixels = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if has_alpha else cv2.COLOR_BGR2RGBA)
    size = (pixels.shape[1], pixels.shape[0])
    shared = Image.frombuffer("RGBA", size, pixels, "raw", "RGBA", 0, 1)
    return _opaque(Image.fromarrow(shared, "RGBA", size)) if has_alpha else shared  # the former may be changed in place


def _bands(image: Image.Image) -> Iterator[tuple[tuple[int, int, int, int], Image.Image]]:
    """Yield an image's rows in bands, each with its box."""
    rows = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(top + rows, image.height))
        yield box, image.crop(box)


def _on_white(band: Image.Image) -> Image.Image:
    """Show what is transparent on white; return RGBA, all of it opaque.

    A channel is c * a + 255 * (1 - a), rounded once: as the second term is whole, that is the rounded first one, which
    the conversion to RGBa gives, and the second. The same pixels as by Image.alpha_composite, at a third of its time.
    """
    layered = band if band.mode == "RGBA" else band.convert("RGBA")
    if layered.getchannel("A").getextrema()[0] == 255:
        return layered
    multiplied = np.asarray(layered.convert("RGBa")).view("<u4")
    opaque = multiplied + (~multiplied >> 24) * _EVERY_CHANNEL
    return Image.frombuffer("RGBA", band.size, opaque, "raw", "RGBA", 0, 1)


def _opaque(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits is scaled to L, not clipped; what is transparent is shown on white, as a browser would.

    Works by bands, and where the pixels take as much room afterwards, in place; of a palette on its colours alone.
    """
    if image.mode.startswith(("I", "F")):
        return _to_eight_bits(image)
    if image.mode not in ("RGBA", "LA", "PA", "La", "RGBa") and "transparency" not in image.info:
        return image
    if image.mode in ("P", "L"):
        colours = image.crop((0, 0, 256, 1))
        colours.putdata(range(256))
        image.putpalette(_on_white(colours).convert("RGB").tobytes())
        del image.info["transparency"]
        return image
    in_place = image.mode in ("RGB", "RGBA")
    canvas = image if in_place else Image.new("L" if image.mode == "LA" else "RGB", image.size, None)
    for box, band in _bands(image):
        canvas.paste(_on_white(band).convert(canvas.mode), box)
    return canvas


def _as_rgb(image: Image.Image) -> Image.Image:
    """Make an opaque image RGB. Pillow stores RGB and RGBA alike, so that both keep their memory."""
    return Image.fromarrow(image, "RGB", image.size) if image.mode in ("RGB", "RGBA") else image.convert("RGB")


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Floats count as 0..1 where they fit and as 0..255 where they do not; up to 16 bits as they are.

    Integers of 32 bits count as 8, 16 or 32 bits: the least that holds their largest value. Negative values are black.
    """
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS, (16,))[0]
    is_signed = tags.get(_SAMPLE_FORMAT, (1,))[0] == _SIGNED
    is_inverted = tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO

    def numbers(band: Image.Image) -> NDArray[Any]:
        grey: NDArray[Any] = np.asarray(band)
        if np.issubdtype(grey.dtype, np.floating):
            np.nan_to_num(grey := grey.copy(), copy=False)
            return grey
        return grey.view(np.uint32) if image.mode == "I" and not is_signed else grey.clip(0)

    top = max(numbers(band).max() for _, band in _bands(image))
    full: float
    if image.mode == "F":
        full = 1 if top <= 1.0 else 255
    elif bits <= 16:
        full = 2 ** (bits - is_signed) - 1
    else:
        full = next(most for most in (255, 65535, 2 ** (bits - is_signed) - 1) if top <= most)
    canvas = Image.new("L", image.size)
    for box, band in _bands(image):
        grey = numbers(band)
        if image.mode == "F":
            grey = np.clip(grey * (255 / full) + 0.5, 0, 255)
        else:
            grey = grey.astype(np.uint64) * 255 // int(full)
        eight = grey.astype(np.uint8)
        canvas.paste(Image.fromarray(255 - eight if is_inverted else eight), box)
    return canvas
