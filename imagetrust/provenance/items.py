"""The items of metadata in an AVIF or HEIC: ISO/IEC 14496-12, 8.11. The decoders hand on one XMP item of several."""

import struct
from collections.abc import Iterator

from imagetrust.provenance.bounds import MAX_BOX_ITEMS, MAX_XMP_BYTES, check_size

_XMP_TYPE = b"application/rdf+xml"
_IN_FILE, _IN_META = 0, 1  # where iloc's offsets count from


def xmp_items(data: bytes, meta: bytes) -> list[bytes]:
    """Return the XMP items of a file, in its order; meta: the content of its meta box.

    Raises ValueError where the boxes are broken or an item lies outside the file, TooLarge on more than MAX_BOX_ITEMS
    items or pieces of them, or MAX_XMP_BYTES.
    """
    boxes = dict(_boxes(meta[4:]))
    try:
        numbers = list(_xmp_numbers(boxes.get(b"iinf", b"")))
        if not numbers:
            return []
        places = dict(_places(boxes.get(b"iloc", b"")))
    except (struct.error, IndexError) as error:
        raise ValueError(f"the boxes of items are cut off: {error}") from error
    sources = {_IN_FILE: data, _IN_META: boxes.get(b"idat", b"")}
    found, total = [], 0
    for number in numbers:
        method, extents = places.get(number, (_IN_FILE, []))
        source = sources.get(method, b"")
        whole = [(start, size or max(0, len(source) - start)) for start, size in extents]
        if not whole or any(start + size > len(source) for start, size in whole):
            raise ValueError(f"the XMP item {number} lies outside the file")
        total += sum(size for _, size in whole)
        check_size(total, MAX_XMP_BYTES)
        found.append(b"".join(source[start : start + size] for start, size in whole))
    return found


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while position + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, position)
        size = size or len(content) - position
        yield kind, content[position + 8 : position + size]
        position += max(8, size)


def _xmp_numbers(iinf: bytes) -> Iterator[int]:
    """Yield the numbers of the items that hold XMP: ISO/IEC 14496-12, 8.11.6."""
    head = 6 if iinf[:1] == b"\0" else 8
    for count, (kind, entry) in enumerate(_boxes(iinf[head:]), start=1):
        check_size(count, MAX_BOX_ITEMS, "items")
        version = entry[0]
        if kind == b"infe" and version >= 2:
            number, item_type = struct.unpack_from(">H2x4s" if version == 2 else ">I2x4s", entry, 4)
            # Name, type of content and its encoding, each ended by a zero.
            texts = entry[12 if version == 2 else 14 :].split(b"\0")
            if item_type == b"mime" and texts[1:2] == [_XMP_TYPE]:
                yield number


def _places(iloc: bytes) -> Iterator[tuple[int, tuple[int, list[tuple[int, int]]]]]:
    """Yield each item's number, where its offsets count from, and its pieces: ISO/IEC 14496-12, 8.11.3."""
    version = iloc[0]
    sizes = struct.unpack_from(">BB", iloc, 4)
    offset_size, length_size, base_size, index_size = (half for size in sizes for half in (size >> 4, size & 15))
    position = 6

    def number(size: int) -> int:
        nonlocal position
        if position + size > len(iloc):
            raise IndexError("iloc")
        position += size
        return int.from_bytes(iloc[position - size : position], "big")

    wide = 4 if version == 2 else 2
    count = number(wide)
    check_size(count, MAX_BOX_ITEMS, "items")
    total = 0
    for _ in range(count):
        item = number(wide)
        method = number(2) & 15 if version else _IN_FILE
        number(2)  # another file, which no picture has
        base = number(base_size)
        pieces, extents = [], number(2)
        total += extents  # of which each may take no byte
        check_size(total, MAX_BOX_ITEMS, "pieces")
        for _ in range(extents):
            number(index_size if version else 0)
            start = number(offset_size)
            pieces.append((base + start, number(length_size)))
        yield item, (method, pieces)
