"""EXIF: every directory, with the camera, the lens, the software and the times called out."""

import math
from collections.abc import Mapping

from PIL import ExifTags, TiffImagePlugin

from imagetrust.provenance.bounds import MAX_TEXT
from imagetrust.provenance.exif_directory import open_directory
from imagetrust.provenance.finding import NOTHING, Reading
from imagetrust.provenance.opened_file import OpenedFile
from imagetrust.provenance.statements import state

_SHORT = 8  # bytes: versions, configurations and the like, told as numbers
_USER_COMMENT = 0x9286
_MAKER_NOTE = 0x927C
_XP_TEXTS = range(0x9C9B, 0x9CA0)  # Windows' own tags: UTF-16 without a mark
_POINTERS = (0x8769, 0x8825, 0xA005, 0x0201, 0x0202)  # to directories and to the thumbnail
_DIRECTORIES = {  # name in the answer -> (tag that points to it, or None for the first directory, names of its tags)
    "image": (None, ExifTags.TAGS),
    "photo": (ExifTags.IFD.Exif, ExifTags.TAGS),
    "interoperability": (ExifTags.IFD.Interop, {1: "InteroperabilityIndex", 2: "InteroperabilityVersion"}),
    "thumbnail": (ExifTags.IFD.IFD1, ExifTags.TAGS),
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
# Fields in which generators leave their parameters (imagetrust/provenance/generation.py).
_TEXTS = ("UserComment", "ImageDescription", "Make", "Model", "Software", "Artist")


def read_exif(file: OpenedFile) -> Reading:
    """One finding with all tags by directory, and the texts in which generation parameters may stand."""
    exif = file.decoded.exif
    if not exif:
        return NOTHING
    tags: dict[str, dict[str, object]] = {}
    maker_note = 0
    for directory, (pointer, names) in _DIRECTORIES.items():
        entries = dict(open_directory(exif, pointer))
        maker_note = maker_note or _length(entries.pop(_MAKER_NOTE, b""))
        named = {
            names.get(tag, f"0x{tag:04x}"): _value(tag, value)
            for tag, value in sorted(entries.items())
            if tag not in _POINTERS
        }
        if named:
            tags[directory] = named
    shot = {**tags.get("photo", {}), **tags.get("image", {})}
    values: dict[str, object] = {name: shot[tag] for name, tag in _CALLED_OUT.items() if shot.get(tag)}
    if maker_note:
        values["maker_note_bytes"] = maker_note
    if gps := _position(open_directory(exif, ExifTags.IFD.GPSInfo)):
        values["gps"] = gps
    values |= {"tags": tags}
    texts = {f"exif:{tag}": text for tag in _TEXTS if isinstance(text := shot.get(tag), str) and text}
    if not tags and "gps" not in values:
        return NOTHING
    statement = state("exif", shot, "The EXIF data name neither a camera nor a program.")
    return Reading((statement.finding("exif", values),), texts)


def _length(value: object) -> int:
    return len(value) if isinstance(value, (bytes, str)) else 0


def _value(tag: int, value: object) -> object:
    if tag == _USER_COMMENT and isinstance(value, bytes):
        return _user_comment(value)
    if tag in _XP_TEXTS and isinstance(value, bytes):
        return value[: 4 * MAX_TEXT].decode("utf-16-le", errors="replace").rstrip("\0")
    if isinstance(value, bytes):
        text = value.rstrip(b"\0")
        if text.isascii() and text.decode().isprintable() and text:
            return text.decode()
        return ", ".join(map(str, value)) if len(value) <= _SHORT else f"{len(value)} bytes"
    if isinstance(value, str):
        return value.rstrip("\0 ")
    if isinstance(value, tuple):
        return ", ".join(str(_value(0, item)) for item in value[:MAX_TEXT])
    if isinstance(value, TiffImagePlugin.IFDRational):
        return str(value.numerator) if value.denominator == 1 else f"{value.numerator}/{value.denominator}"
    return value


def _user_comment(value: bytes) -> str:
    """EXIF 2.32, 4.6.5: eight bytes name the code. Programs disagree on the byte order of UNICODE: the one that gives
    more ASCII is taken.
    """
    code, text = value[:8], value[8:]
    if code == b"UNICODE\0":
        decoded = [text.decode(order, errors="replace") for order in ("utf-16-be", "utf-16-le")]
        return max(decoded, key=lambda one: sum(map(str.isascii, one[:MAX_TEXT]))).rstrip("\0 ")
    if code in (b"ASCII\0\0\0", b"\0\0\0\0\0\0\0\0", b"JIS\0\0\0\0\0"):
        value = text
    return value.decode("utf-8", errors="replace").rstrip("\0 ")


def _position(gps: Mapping[int, object]) -> dict[str, object]:
    """Decimal degrees, north and east positive; metres, above the sea positive; the other tags by name."""
    position: dict[str, object] = {}
    for name, value_tag, side_tag, negative in (("latitude", 2, 1, "S"), ("longitude", 4, 3, "W")):
        degrees = _degrees(gps.get(value_tag))
        if degrees is not None:
            position[name] = round(-degrees if gps.get(side_tag) == negative else degrees, 6)
    altitude = _degrees((gps.get(6, math.nan),))
    if altitude is not None:
        position["altitude"] = round(-altitude if gps.get(5) in (1, b"\x01") else altitude, 1)
    named = {ExifTags.GPSTAGS.get(tag, f"0x{tag:04x}"): _value(tag, value) for tag, value in sorted(gps.items())}
    return position | ({"tags": named} if named else {})


def _degrees(parts: object) -> float | None:
    """Degrees, minutes, seconds to degrees; None where they are no finite numbers."""
    if not isinstance(parts, tuple):
        return None
    try:
        degrees = sum(float(part) / 60**power for power, part in enumerate(parts[:3]))
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return degrees if math.isfinite(degrees) else None
