"""Damage that leaves all pixels of a file in place, and that every viewer passes over."""

import io
import itertools
import struct
import zlib
from collections.abc import Iterator
from typing import IO

from imagetrust.images.jpeg_scans import read_scans
from imagetrust.images.parts import Parts

_PNG = b"\x89PNG\r\n\x1a\n"
# Ancillary chunks that decide on the first frame's pixels or on how it is turned.
_PIXELS, _ANIMATION = (b"tRNS", b"eXIf"), (b"acTL", b"fcTL", b"fdAT")
_TEXTS, _EXIF_TEXT = (b"tEXt", b"zTXt"), b"Raw profile type exif\0"  # as ImageMagick writes EXIF
_ANCILLARY = 0x20  # the bit of a chunk's first letter that makes it a small one
_MAX_CHUNKS = 100_000

_END = b"\xff\xd9"
# Entropy-coded data of two sorts: a decoder that still needs some makes different pixels of each.
_PADDINGS = (bytes(64), bytes(range(1, 251)))


def readable_files(data: bytes) -> tuple[IO[bytes], ...]:
    """Return a file as Pillow takes it, without the damage that leaves its pixels in place.

    Of a JPEG that lacks its end marker there are two, with different endings. Where all pixels are there, both give the
    same ones: a decoder passes over what follows the last block.
    Raises OSError where the checksum of a PNG's critical chunk is wrong, or a scan of a JPEG is missing.
    """
    if data.startswith(_PNG):
        return (_pixel_chunks(data),)
    if data.startswith(b"\xff\xd8") and not data.endswith(_END) and _lacks_its_end(data):
        body = memoryview(data)[: len(data.rstrip(b"\xff"))]
        return tuple(io.BufferedReader(Parts(body, memoryview(padding + _END))) for padding in _PADDINGS)
    return (io.BytesIO(data),)


def _pixel_chunks(data: bytes) -> IO[bytes]:
    """Leave out of a PNG what does not decide on its pixels.

    libpng warns of an ancillary chunk whose checksum is wrong and leaves it out (PNG_CRC_DEFAULT of its png.h), and so
    do viewers. Pillow refuses the file, as it does where a text is long or its compression is broken.
    """
    chunks = list(itertools.islice(_chunks(data), _MAX_CHUNKS + 1))
    if len(chunks) > _MAX_CHUNKS:
        raise OSError(f"it has over {_MAX_CHUNKS} chunks")
    has_animation = all(is_right for kind, _, _, is_right in chunks if kind in _ANIMATION)
    parts, begin, end = [], 0, len(_PNG)
    for kind, start, stop, is_right in chunks:
        is_critical = not kind[0] & _ANCILLARY
        if is_critical or is_right and _is_needed(kind, data[start + 8 : start + 40], has_animation):
            end = stop
            continue
        parts.append(memoryview(data)[begin:end])
        begin = end = stop
    return io.BufferedReader(Parts(*parts, memoryview(data)[begin:end]))


def _is_needed(kind: bytes, start: bytes, has_animation: bool) -> bool:
    return kind in _PIXELS or kind in _ANIMATION and has_animation or kind in _TEXTS and start.startswith(_EXIF_TEXT)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int, bool]]:
    """Yield each chunk of a PNG: its kind, where it starts and ends in the file, and whether its checksum is right.

    A critical chunk that is cut off is handed on, for the decoder to complain of. What is no chunk ends the file.
    """
    view, start = memoryview(data), len(_PNG)
    while start + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        stop = start + 12 + length
        if not kind.isalpha():
            return
        if stop > len(data):
            yield kind, start, len(data), False
            return
        (told,) = struct.unpack_from(">I", data, stop - 4)
        is_right = zlib.crc32(view[start + 4 : stop - 4]) == told
        if not is_right and not kind[0] & _ANCILLARY:
            raise OSError(f"the checksum of its chunk {kind.decode()} is wrong")
        yield kind, start, stop, is_right
        if kind == b"IEND":
            return
        start = stop


def _lacks_its_end(data: bytes) -> bool:
    """Tell whether no end marker follows a JPEG's last scan. Raises OSError where a scan is missing then."""
    read = read_scans(data)
    if not read or not read.factors or read.end is not None:
        return False
    if not read.are_complete():
        raise OSError("image file is truncated: a scan is missing")
    return True
