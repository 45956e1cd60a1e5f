"""IPTC-IIM: the caption block that image agencies and older programs write."""

import struct
from collections.abc import Iterator

from imagetrust.provenance.characters import decode_text
from imagetrust.provenance.finding import Reading
from imagetrust.provenance.opened_file import OpenedFile
from imagetrust.provenance.statements import state, texts_of

# IPTC-NAA Information Interchange Model 4.2, record 2, by data set.
_NAMES = {
    5: "title",
    7: "edit_status",
    15: "category",
    25: "keywords",
    26: "location_code",
    27: "location",
    40: "special_instructions",
    55: "created",
    60: "time_created",
    62: "digitised",
    65: "program",
    70: "program_version",
    80: "byline",
    85: "byline_title",
    90: "city",
    92: "sublocation",
    95: "state",
    101: "country",
    103: "job",
    105: "headline",
    110: "credit",
    115: "source",
    116: "copyright",
    118: "contact",
    120: "caption",
    122: "caption_writer",
}
_RECORDS = (1, 2)  # of the envelope, which names the encoding, and of the application
_IPTC_RESOURCE = 0x0404  # Adobe Photoshop File Formats Specification, "Image Resource IDs"
_PHOTOSHOP_HEAD = b"Photoshop 3.0\0"
_IPTC_TAG, _PHOTOSHOP_TAG = 0x83BB, 0x8649  # of a TIFF, and of EXIF data


def read_iptc(file: OpenedFile) -> Reading:
    """One finding with the fields by name. The standard's DigitalSourceType stands in XMP, not here.

    Raises ValueError where a carrier of the block is broken; a block that breaks off is a fault.
    """
    fields: dict[str, list[bytes]] = {}
    encoding: str | None = None
    faults: list[str] = []
    for block in dict.fromkeys(_blocks(file)):
        for record, dataset, value in _data_sets(block, faults):
            if (record, dataset) == (1, 90) and value == b"\x1b%G":
                encoding = "utf-8"
            elif record == 2 and dataset in _NAMES:
                fields.setdefault(_NAMES[dataset], []).append(value)
    if not fields:
        return Reading(faults=tuple(faults))
    texts = {name: [_text(value, encoding) for value in found] for name, found in fields.items()}
    values: dict[str, object] = {name: found[0] if len(found) == 1 else found for name, found in texts.items()}
    statement = state("iptc", values, "The IPTC data name no program.")
    return Reading((statement.finding("iptc", values),), texts_of("iptc", values), tuple(faults))


def _text(value: bytes, encoding: str | None) -> str:
    # Many programs write UTF-8 without declaring it.
    return value.decode(encoding, errors="replace") if encoding else decode_text(value)


def _blocks(file: OpenedFile) -> Iterator[bytes]:
    """Yield the blocks of IPTC-IIM in a file: by themselves or among Photoshop's resources."""
    photoshop = b"".join(
        segment.removeprefix(_PHOTOSHOP_HEAD)
        for segment in file.jpeg_segments("APP13")
        if segment.startswith(_PHOTOSHOP_HEAD)
    )
    yield from _resources(photoshop)
    for profile in file.png_texts.profiles("iptc", "8bim"):
        yield from _resources(profile) if profile.startswith(b"8BIM") else (profile,)
    if exif := file.readable_exif:
        yield exif.raw(_IPTC_TAG)
        yield from _resources(exif.raw(_PHOTOSHOP_TAG))


def _resources(photoshop: bytes) -> Iterator[bytes]:
    """Yield the IPTC blocks of a sequence of resources: "8BIM", number, a name of even length, length, content."""
    position = 0
    while photoshop[position : position + 4] == b"8BIM" and position + 12 <= len(photoshop):
        (number,) = struct.unpack_from(">H", photoshop, position + 4)
        name = 1 + photoshop[position + 6]
        position += 6 + name + name % 2
        if position + 4 > len(photoshop):
            return
        (size,) = struct.unpack_from(">I", photoshop, position)
        if number == _IPTC_RESOURCE:
            yield photoshop[position + 4 : position + 4 + size]
        position += 4 + size + size % 2


def _data_sets(block: bytes, faults: list[str]) -> Iterator[tuple[int, int, bytes]]:
    """Record, number and value of each data set: IPTC-IIM 4.2, 1.6. What follows the last one is padding."""
    position = 0
    while position + 5 <= len(block) and block[position] == 0x1C:
        record, dataset, size = struct.unpack_from(">xBBH", block, position)
        position += 5
        if size & 0x8000:  # an extended one: so many bytes hold the length
            width = min(size & 0x7FFF, 8)
            size = int.from_bytes(block[position : position + width], "big")
            position += width
        if position + size > len(block):
            faults.append(f"the IPTC data set {record}:{dataset} is cut off")
            return
        if record in _RECORDS:
            yield record, dataset, block[position : position + size]
        position += size
