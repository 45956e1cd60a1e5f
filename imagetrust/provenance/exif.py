"""EXIF: every directory, with the camera, the lens, the software and the times called out."""

import math
from collections.abc import Mapping

from PIL import ExifTags, TiffImagePlugin

from imagetrust.provenance.bounds import MAX_TEXT
from imagetrust.provenance.characters import decode_text, decode_utf16
from imagetrust.provenance.exif_directory import ExifBlock, Value
from imagetrust.provenance.finding import Reading
from imagetrust.provenance.opened_file import OpenedFile
from imagetrust.provenance.statements import state, texts_of

_SHORT = 8  # bytes: versions, configurations and the like, told as numbers
_USER_COMMENT = 0x9286
_MAKER_NOTE = 0x927C
_XP_TEXTS = range(0x9C9B, 0x9CA0)  # Windows' own tags: UTF-16 without a mark
_GPS = 0x8825
# Tags of the first directory, which in a TIFF describes the file itself, that say nothing of the image's origin.
_POINTERS = {0x8769, _GPS, 0xA005, 0x014A, 0x0201, 0x0202}  # to directories; where the thumbnail lies
_BLOCKS = {0x02BC, 0x83BB, 0x8649, 0x8773, 0xCD41}  # XMP, IPTC, Photoshop, ICC, C2PA: other readers look into them
_PIXELS = {0x0111, 0x0116, 0x0117, 0x0140, 0x0142, 0x0143, 0x0144, 0x0145, 0x015B}  # where a TIFF keeps them
_LAYOUT = {0x00FE, 0x0100, 0x0101, 0x0102, 0x0103, 0x0106, 0x010A, 0x0115, 0x011C, 0x013D, 0x0152, 0x0153}
_NOT_VALUES = _POINTERS | _BLOCKS | _PIXELS | _LAYOUT
# CIPA DC-008-2023 (Exif 3.0), 4.6.5.
_EXIF_3 = {
    0xA436: "ImageTitle", 0xA437: "Photographer", 0xA438: "ImageEditor", 0xA439: "CameraFirmware",
    0xA43A: "RAWDevelopingSoftware", 0xA43B: "ImageEditingSoftware", 0xA43C: "MetadataEditingSoftware",
}  # fmt: skip
_NAMES = {  # directory in the answer -> names of its tags
    "image": ExifTags.TAGS,
    "photo": {**ExifTags.TAGS, **_EXIF_3},
    "interoperability": {1: "InteroperabilityIndex", 2: "InteroperabilityVersion"},
    "thumbnail": ExifTags.TAGS,
}
_CALLED_OUT = {
    "maker": "Make",
    "model": "Model",
    "software": "Software",
    "taken": "DateTimeOriginal",
    "digitised": "DateTimeDigitized",
    "changed": "DateTime",
    "lens_maker": "LensMake",
    "lens": "LensModel",
    "artist": "Artist",
}


def read_exif(file: OpenedFile) -> Reading:
    """One finding with all tags by directory, and the texts in which generation parameters may stand.

    Of several blocks, an earlier one's tags count. A block that is no EXIF is a fault.
    Raises TooLarge on directories over the bound.
    """
    tags: dict[str, dict[str, object]] = {}
    gps: dict[str, object] = {}
    maker_note = 0
    faults: dict[str, None] = {}
    for data in file.exif_blocks:
        try:
            block = ExifBlock(data)
        except ValueError as error:
            faults[str(error)] = None
            continue
        directories = _directories(block, has_pages=file.is_tiff)
        for name, entries in directories.items():
            maker_note = maker_note or _length(entries.get(_MAKER_NOTE))
            if named := _named(name, entries, block.order):
                tags[name] = named | tags.get(name, {})
        gps = gps or _position(block.pointed_to(directories["image"].get(_GPS)), block.order)
        faults |= block.faults
    shot = {**tags.get("photo", {}), **tags.get("image", {})}
    values: dict[str, object] = {name: shot[tag] for name, tag in _CALLED_OUT.items() if shot.get(tag)}
    if maker_note:
        values["maker_note_bytes"] = maker_note
    if gps:
        values["gps"] = gps
    values |= {"tags": tags}
    if not tags and not gps:
        return Reading(faults=tuple(faults))
    statement = state("exif", shot, "The EXIF data name neither a camera nor a program.")
    return Reading((statement.finding("exif", values),), texts_of("exif", shot), tuple(faults))


def _directories(block: ExifBlock, *, has_pages: bool) -> dict[str, dict[int, Value]]:
    first = block.first()
    photo = block.pointed_to(first.get(ExifTags.IFD.Exif))
    interoperability = block.pointed_to(photo.get(ExifTags.IFD.Interop))
    thumbnail = {} if has_pages else block.second()  # in a TIFF, it is the next page
    return {"image": first, "photo": photo, "interoperability": interoperability, "thumbnail": thumbnail}


def _named(directory: str, entries: Mapping[int, Value], order: str) -> dict[str, object]:
    unwanted = {_MAKER_NOTE, *(_NOT_VALUES if directory == "image" else _POINTERS)}
    return {
        _NAMES[directory].get(tag, f"0x{tag:04x}"): _value(tag, value, order)
        for tag, value in sorted(entries.items())
        if tag not in unwanted
    }


def _length(value: object) -> int:
    return len(value) if isinstance(value, (memoryview, str)) else 0


def _value(tag: int, value: Value, order: str) -> object:
    if tag == _USER_COMMENT and isinstance(value, (str, memoryview)):
        return _user_comment(value.encode() if isinstance(value, str) else bytes(value), order)
    if tag in _XP_TEXTS and isinstance(value, memoryview):
        return bytes(value[: 4 * MAX_TEXT]).decode("utf-16-le", errors="replace").rstrip("\0")
    if isinstance(value, memoryview):
        return _bytes(value)
    if isinstance(value, str):
        return value.rstrip("\0 ")
    if isinstance(value, tuple):
        return ", ".join(str(_value(0, item, order)) for item in value)
    if isinstance(value, TiffImagePlugin.IFDRational):
        return str(value.numerator) if value.denominator == 1 else f"{value.numerator}/{value.denominator}"
    return value


def _bytes(value: memoryview) -> str:
    text = bytes(value[: 4 * MAX_TEXT]).rstrip(b"\0")
    if text.isascii() and text.decode().isprintable() and text:
        return text.decode()
    return ", ".join(map(str, value)) if len(value) <= _SHORT else f"{len(value)} bytes"


def _user_comment(value: bytes, order: str) -> str:
    """EXIF 2.32, 4.6.5: eight bytes name the code. Programs disagree on the byte order of UNICODE, write other codes
    than the one they name, or none at all.
    """
    code = value[:8].rstrip(b"\0 ").upper()
    text = value[8:] if code in (b"", b"ASCII", b"JIS", b"UNICODE") else value
    if code == b"UNICODE" or (b"\0" in text.rstrip(b"\0") and code in (b"", b"ASCII")):
        # An odd byte at the end is half of a closing zero.
        return decode_utf16(text[: len(text) // 2 * 2], order).rstrip("\0 ")
    if code == b"JIS":
        for encoding in ("iso2022_jp", "utf-8", "euc_jp", "cp932"):
            try:
                return text.decode(encoding).rstrip("\0 ")
            except UnicodeDecodeError:
                continue
    return decode_text(text.rstrip(b"\0 "))


def _position(gps: Mapping[int, Value], order: str) -> dict[str, object]:
    """Decimal degrees, north and east positive; metres, above the sea positive; the other tags by name."""
    position: dict[str, object] = {}
    for name, value_tag, side_tag, negative in (("latitude", 2, 1, "S"), ("longitude", 4, 3, "W")):
        degrees = _degrees(gps.get(value_tag))
        if degrees is not None:
            position[name] = round(-degrees if gps.get(side_tag) == negative else degrees, 6)
    altitude = _degrees((gps.get(6, math.nan),))
    if altitude is not None:
        position["altitude"] = round(-altitude if _number(gps.get(5)) == 1 else altitude, 1)
    named = {ExifTags.GPSTAGS.get(tag, f"0x{tag:04x}"): _value(tag, value, order) for tag, value in sorted(gps.items())}
    return position | ({"tags": named} if named else {})


def _number(value: object) -> object:
    return value[0] if isinstance(value, memoryview) and len(value) == 1 else value


def _degrees(parts: object) -> float | None:
    """Degrees, minutes, seconds to degrees; None where they are no finite numbers."""
    if not isinstance(parts, tuple):
        return None
    try:
        degrees = sum(float(part) / 60**power for power, part in enumerate(parts[:3]))
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return degrees if math.isfinite(degrees) else None
