"""Damage that leaves all pixels of a file in place, and that every viewer passes over."""

import bisect
import io
import itertools
import re
import struct
import zlib
from collections.abc import Iterator
from typing import IO, Any

_PNG = b"\x89PNG\r\n\x1a\n"
# Ancillary chunks that decide on the first frame's pixels or on how it is turned.
_PIXELS, _ANIMATION = (b"tRNS", b"eXIf"), (b"acTL", b"fcTL", b"fdAT")
_TEXTS, _EXIF_TEXT = (b"tEXt", b"zTXt"), b"Raw profile type exif\0"  # as ImageMagick writes EXIF
_ANCILLARY = 0x20  # the bit of a chunk's first letter that makes it a small one
_MAX_CHUNKS = 100_000

_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])", re.DOTALL)  # those that stand alone are passed over
_END, _SCAN, _FRAMES, _PROGRESSIVE = b"\xff\xd9", 0xDA, (0xC0, 0xC1, 0xC2), 0xC2
_MAX_SEGMENTS = 4096
_COEFFICIENTS = 64
# Entropy-coded data of two sorts: a decoder that still needs some makes different pixels of each.
_PADDINGS = (bytes(64), bytes(range(1, 251)))


class _Parts(io.RawIOBase):
    """Parts of a file, read as if they stood one behind the other, without a copy of them."""

    def __init__(self, *parts: memoryview) -> None:
        self._parts = [part for part in parts if part]
        self._starts = [0, *itertools.accumulate(map(len, self._parts))]
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position, in bytes, and return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._starts[-1]}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from one part, and return how many bytes came."""
        index = bisect.bisect_right(self._starts, self._position) - 1
        if index >= len(self._parts):
            return 0
        begin = self._position - self._starts[index]
        piece = self._parts[index][begin : begin + len(buffer)]
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)


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
        return tuple(io.BufferedReader(_Parts(body, memoryview(padding + _END))) for padding in _PADDINGS)
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
    return io.BufferedReader(_Parts(*parts, memoryview(data)[begin:end]))


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
    missing: dict[int, set[int]] = {}  # of each component: coefficients that are not there in full
    is_progressive, position = False, 2
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(data, position)
        if not found or found[1] == b"\xd9":
            break
        marker, position = found[1][0], found.end()
        segment = data[position + 2 : position + max(2, int.from_bytes(data[position : position + 2]))]
        if marker in _FRAMES and len(segment) >= 6:
            is_progressive = marker == _PROGRESSIVE
            missing = {component: set(range(_COEFFICIENTS)) for component in segment[6::3]}
        elif marker == _SCAN and segment:
            count = segment[0]
            first, last, bits = segment[1 + 2 * count : 4 + 2 * count] if is_progressive else (0, 63, 0)
            for component in segment[1 : 1 + 2 * count : 2]:
                if not bits & 15:
                    missing.get(component, set()).difference_update(range(first, last + 1))
        position += 2 + len(segment)
    else:
        return False
    if found:
        return False
    if any(missing.values()):
        raise OSError("image file is truncated: a scan is missing")
    return bool(missing)
