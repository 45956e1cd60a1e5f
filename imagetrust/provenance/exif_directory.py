"""Opens the directories of EXIF data, after a look at how much they hold."""

import struct
from collections.abc import Iterator, Mapping

from PIL import ExifTags, Image

from imagetrust.provenance.bounds import MAX_EXIF_DIRECTORY_BYTES, TooLarge, check_size

# Tags of the first directory, which in a TIFF describes the file itself, that say nothing of the image's origin.
_POINTERS = {0x8769, 0x8825, 0xA005, 0x014A, 0x0201, 0x0202}  # to directories; where the thumbnail lies
_BLOCKS = {0x02BC, 0x83BB, 0x8649, 0x8773, 0xCD41}  # XMP, IPTC, Photoshop, ICC, C2PA: other readers look into them
_PIXELS = {0x0111, 0x0116, 0x0117, 0x0140, 0x0142, 0x0143, 0x0144, 0x0145, 0x015B}  # where a TIFF keeps them
_LAYOUT = {0x00FE, 0x0100, 0x0101, 0x0102, 0x0103, 0x0106, 0x010A, 0x0115, 0x011C, 0x013D, 0x0152, 0x0153}
_NOT_VALUES = _POINTERS | _BLOCKS | _PIXELS | _LAYOUT
_BYTES_OF_TYPE = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}  # TIFF 6.0, section 2


def open_directory(exif: Image.Exif, pointer: ExifTags.IFD | None) -> Mapping[int, object]:
    """Values by tag of the directory that a tag points to, of the first one for None; empty where there is none.

    Raises TooLarge where the values exceed the bound: millions of fractions would take seconds to turn into numbers.
    """
    block = exif_block(exif)
    if not block:
        return {}
    offset = _offset(exif, pointer, block)
    if offset is None:
        return {}
    sizes = dict(_value_sizes(block, offset))
    if pointer is None:
        wanted = [tag for tag in exif if tag not in _NOT_VALUES]
        check_size(sum(sizes.get(tag, 0) for tag in wanted), MAX_EXIF_DIRECTORY_BYTES)
        return {tag: exif[tag] for tag in wanted}
    check_size(sum(sizes.values()), MAX_EXIF_DIRECTORY_BYTES)
    return exif.get_ifd(pointer)


def exif_block(exif: Image.Exif) -> memoryview | None:
    """Return the bytes that offsets in EXIF data count from; None where there are no EXIF data."""
    stream = getattr(exif, "fp", None)  # Pillow makes one only where there are EXIF data
    return stream.getbuffer() if stream else None


def _offset(exif: Image.Exif, pointer: ExifTags.IFD | None, block: memoryview) -> int | None:
    if pointer is None:
        return _first(block)
    if pointer == ExifTags.IFD.IFD1:
        return _second(block)
    if pointer == ExifTags.IFD.Interop:  # its pointer stands in the directory of the photo
        offset = open_directory(exif, ExifTags.IFD.Exif).get(pointer)
    else:
        offset = exif.get(pointer)
    return offset if isinstance(offset, int) and 0 < offset < len(block) else None


def _first(block: memoryview) -> int | None:
    if len(block) < 8:
        return None
    magic, offset = struct.unpack_from(_order(block) + "HI", block, 2)
    if magic == 43:
        raise TooLarge("it is a BigTIFF, whose directories are not read")
    return offset if offset < len(block) else None


def _second(block: memoryview) -> int | None:
    first = _first(block)
    if first is None or first + 2 > len(block):
        return None
    (count,) = struct.unpack_from(_order(block) + "H", block, first)
    if first + 6 + 12 * count > len(block):
        return None
    (second,) = struct.unpack_from(_order(block) + "I", block, first + 2 + 12 * count)
    return second or None


def _value_sizes(block: memoryview, offset: int) -> Iterator[tuple[int, int]]:
    """Tag and bytes of each value. Tags that a file repeats count once, as Pillow reads only one of them."""
    if offset + 2 > len(block):
        return
    (count,) = struct.unpack_from(_order(block) + "H", block, offset)
    for position in range(offset + 2, min(offset + 2 + 12 * count, len(block) - 11), 12):
        tag, kind, items = struct.unpack_from(_order(block) + "HHI", block, position)
        size = _BYTES_OF_TYPE.get(kind, 1) * items
        # Pillow leaves out a value that is longer than the whole file.
        yield tag, size if size <= len(block) else 0


def _order(block: memoryview) -> str:
    return "<" if bytes(block[:2]) == b"II" else ">"
