"""How much memory decoding a file takes, so that one that takes too much is refused before it is decoded."""

from typing import Any

_ROWS_PER_STRIP, _TILE_WIDTH, _TILE_LENGTH = 278, 322, 323  # TIFF tags
# A pixel of RGB at the peak, most of it the libraries' own; alpha takes one more.
_CODEC_BYTES = {"AVIF": 10.4, "HEIF": 7}


def decoding_bytes(opened: Any, data: bytes, stored_size: tuple[int, int], is_turned: bool) -> int:
    """Estimate the memory that decoding takes at its peak, from the header alone.

    opened: Pillow's image, not yet read; its size is what it will be decoded at, stored_size what the file holds.
    is_turned: whether its EXIF orientation has to be applied.
    """
    mode: str = opened.mode
    pixels: int = opened.width * opened.height
    if opened.format == "WEBP":
        # An animation's decoder keeps two canvases and hands over a third; a still image is held twice.
        return int(pixels * (16.5 if is_animated_webp(data) else 8.5))
    if opened.format in _CODEC_BYTES:
        return int(pixels * (_CODEC_BYTES[opened.format] + (mode == "RGBA")))
    # Pillow stores all but grey and palettes in 4 bytes a pixel; turning and converting take a second copy.
    is_small = mode in ("1", "L", "P") or mode.startswith("I;16")
    if is_turned and (not is_small or "transparency" in opened.info):
        taken = pixels * 8
    elif mode in ("RGB", "RGBA"):
        taken = pixels * 4
    else:
        taken = pixels * (5 if is_small or mode in ("LA", "I", "F") else 8)
    if opened.format in ("JPEG", "MPO") and _has_several_scans(opened, data):
        # The coefficients are kept, two bytes each, until the last scan.
        widest, highest = (max(layer[axis] for layer in opened.layer) for axis in (1, 2))
        share = sum(across * down for _, across, down, _ in opened.layer) / (widest * highest)
        taken += int(2 * stored_size[0] * stored_size[1] * share)
    if opened.format == "TIFF" and opened.tile and opened.tile[0].codec_name == "libtiff":
        # A strip or tile is unpacked as a whole, into at most 4 bytes a pixel, before it is copied.
        width = opened.tag_v2.get(_TILE_WIDTH, opened.width)
        rows = opened.tag_v2.get(_TILE_LENGTH, min(opened.tag_v2.get(_ROWS_PER_STRIP, opened.height), opened.height))
        taken = max(taken, pixels * (1 if is_small else 4) + 4 * width * rows)
    return taken


def is_animated_webp(data: bytes) -> bool:
    """Tell an animation from a still image by the header of a WebP file."""
    return data[12:16] == b"VP8X" and bool(data[20] & 2)


def _has_several_scans(opened: Any, data: bytes) -> bool:
    """Tell whether a JPEG has to be kept as coefficients: it is progressive, or its components come one by one."""
    if "progressive" in opened.info:
        return True
    end = opened.fp.tell()  # of the first scan's header, which tells how many components are in it
    counts = (1, 2, 3, 4)
    headers = {count: b"\xff\xda\0" + bytes((6 + 2 * count, count)) for count in counts}
    found = [count for count in counts if data[end - 8 - 2 * count : end - 3 - 2 * count] == headers[count]]
    return found != [len(opened.layer)]
