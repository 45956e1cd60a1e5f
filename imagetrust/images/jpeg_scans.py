"""The scans of a JPEG: what each holds, and which of them a progressive one can do without at an eighth of its size.

By ITU-T T.81 a block of 8x8 pixels is 64 coefficients, the first of which is its mean; a progressive file has them in
several scans.
"""

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from imagetrust.images.parts import Parts

_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])", re.DOTALL)  # those that stand alone are passed over
_END, _SCAN, _FRAMES, _PROGRESSIVE = 0xD9, 0xDA, (0xC0, 0xC1, 0xC2), 0xC2
_MAX_SEGMENTS = 4096
_COEFFICIENTS = 64
_HIGHEST_LOW = 13  # the most bits that a scan may leave to later ones
_LONGEST_RUN = 32767  # of blocks in which the scan has nothing
# Huffman codes of four bits for runs of 2^n blocks and more, n from 0 to 14, in the place of table 0.
_RUNS = b"\xff\xc4" + struct.pack(">HB", 34, 0x10) + b"\0\0\0\x0f" + bytes(12) + bytes(range(0, 0xF0, 0x10))
_NO_RESTARTS = b"\xff\xdd\0\4\0\0"


@dataclass(frozen=True)
class _Scan:
    """Coefficients of components, `first` to `last`, from the bit `low` up to `high`, where an earlier scan ended.

    start, stop: its bytes in the file, up to the next marker.
    """

    components: bytes
    first: int
    last: int
    high: int
    low: int
    start: int
    stop: int

    def is_regular(self) -> bool:
        """Tell whether libjpeg takes it for a scan of a component's coefficients without the mean (jdphuff.c)."""
        is_refined = self.high in (0, self.low + 1)
        return (
            len(self.components) == 1
            and 0 < self.first <= self.last < _COEFFICIENTS
            and is_refined
            and self.low <= _HIGHEST_LOW
        )


@dataclass(frozen=True)
class Scans:
    """A JPEG's last frame and its scans.

    size: (width, height). factors: samples of each component, across and down. end: where the end marker is; None
        where there is none.
    """

    is_progressive: bool
    size: tuple[int, int]
    factors: dict[int, tuple[int, int]]
    scans: list[_Scan]
    end: int | None

    def are_complete(self) -> bool:
        """Tell whether the last bit of every coefficient is there."""
        left = {component: [1] * _COEFFICIENTS for component in self.factors}
        for scan in self.scans:
            for component in left.keys() & set(scan.components):
                left[component][scan.first : scan.last + 1] = [scan.low] * (scan.last + 1 - scan.first)
        return not any(map(any, left.values()))


def read_scans(data: bytes) -> Scans | None:
    """Read which scans a JPEG has; None where it has no frame or too many segments. Raises OSError for a cut header."""
    try:
        segments = list(_segments(data))
    except OverflowError:
        return None
    frames = [index for index, (marker, _, content) in enumerate(segments) if marker in _FRAMES and len(content) >= 6]
    if not frames:
        return None
    marker, _, frame = segments[frames[-1]]
    height, width = struct.unpack_from(">HH", frame, 1)
    is_progressive = marker == _PROGRESSIVE
    scans = [
        _scan(content, is_progressive, start, stop)
        for (marker, start, content), (_, stop, _) in zip(segments, segments[1:], strict=False)
        if marker == _SCAN and content and start > segments[frames[-1]][1]
    ]
    last, end, _ = segments[-1]
    factors = {number: (both >> 4, both & 15) for number, both in zip(frame[6::3], frame[7::3], strict=False)}
    return Scans(is_progressive, (width, height), factors, scans, end if last == _END else None)


def _segments(data: bytes) -> Iterator[tuple[int, int, memoryview]]:
    """Yield a JPEG's segments: marker, where it is, and content. The last one is its end marker, or the file's end.

    Raises OverflowError where there are too many.
    """
    view, position = memoryview(data), 2
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(data, position)
        if not found:
            yield 0, len(data), view[:0]
            return
        marker, position = found[1][0], found.end()
        length = max(2, int.from_bytes(view[position : position + 2])) if marker != _END else 0
        yield marker, found.start(), view[position + 2 : position + length]
        if marker == _END:
            return
        position += length
    raise OverflowError


def _scan(content: memoryview, is_progressive: bool, start: int, stop: int) -> _Scan:
    count = content[0]
    if len(content) < 4 + 2 * count:
        raise OSError("image file is truncated: the header of a scan is cut off")
    first, last, bits = content[1 + 2 * count : 4 + 2 * count] if is_progressive else (0, _COEFFICIENTS - 1, 0)
    return _Scan(bytes(content[1 : 1 + 2 * count : 2]), first, last, bits >> 4, bits & 15, start, stop)


def at_an_eighth(data: bytes) -> IO[bytes] | None:
    """Return a progressive JPEG without the scans that decide on no pixel at an eighth of its size; None: it has none.

    A block is one pixel there, its mean, but libjpeg reads its other coefficients all the same, which is most of the
    file. A scan without any takes their place: it says that they are complete, so that libjpeg does not guess them.
    Damage in a scan that is left out is passed over.
    """
    read = read_scans(data)
    if not read or not read.is_progressive or read.end is None or not read.are_complete():
        return None
    is_odd = any(scan.last and not scan.is_regular() for scan in read.scans)
    if is_odd or not all(map(all, read.factors.values())):
        return None
    unseen = [component for component in read.factors if _is_one_pixel(component, read.factors)]
    dropped = [scan for scan in read.scans if scan.last and scan.components[0] in unseen]
    view, begin, parts = memoryview(data), 0, []
    for scan in dropped:
        parts.append(view[begin : scan.start])
        begin = scan.stop
    empty = _RUNS + _NO_RESTARTS + b"".join(_empty_scan(component, read) for component in unseen)
    return io.BufferedReader(Parts(*parts, view[begin : read.end], memoryview(empty), view[read.end :]))


def _is_one_pixel(component: int, factors: dict[int, tuple[int, int]]) -> bool:
    """Tell whether a block becomes one pixel at an eighth.

    Of a component at half the resolution in both directions libjpeg makes 2x2 rather than enlarge it (jdmaster.c).
    """
    most = [max(both[axis] for both in factors.values()) for axis in (0, 1)]
    return any(largest % (2 * own) for largest, own in zip(most, factors[component], strict=True))


def _empty_scan(component: int, read: Scans) -> bytes:
    """Return a scan of one component in which all coefficients but the mean are 0."""
    blocks = 1
    for axis in (0, 1):
        most = max(both[axis] for both in read.factors.values())
        blocks *= -(-read.size[axis] * read.factors[component][axis] // (8 * most))
    bits = ""
    while blocks:
        run = min(blocks, _LONGEST_RUN)
        bits += f"{run.bit_length() - 1:04b}" + f"{run:b}"[1:]  # how many bits follow the leading one, and these
        blocks -= run
    bits += "1" * (-len(bits) % 8)
    coded = int(bits, 2).to_bytes(len(bits) // 8).replace(b"\xff", b"\xff\0")
    return b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, component, 0, 1, _COEFFICIENTS - 1, 0) + coded
