"""What a file says of itself: format, size and EXIF. Declared, never verified."""

from typing import Any

from PIL import ExifTags

from handlers.decode import Picture

MAX_TAGS = 64
MAX_TEXT = 256  # characters of one value; longer ones are cut and end in an ellipsis
_EXIF_IFD = ExifTags.IFD.Exif


def file_facts(picture: Picture) -> dict[str, Any]:
    """Format, size in pixels as shown (upright), bytes, colour mode, and the EXIF tags by name.

    The position where a photograph was taken is private and left out.
    """
    width, height = picture.image.size
    return {
        "format": picture.format,
        "width": width,
        "height": height,
        "bytes": picture.byte_count,
        "mode": picture.mode,
        "exif": _exif(picture),
    }


def _exif(picture: Picture) -> dict[str, str]:
    tags = {**picture.exif, **picture.exif.get_ifd(_EXIF_IFD)}
    hidden = {ExifTags.Base.GPSInfo, ExifTags.Base.ExifOffset, ExifTags.Base.MakerNote}
    named = {
        ExifTags.TAGS.get(tag, f"0x{tag:04x}"): _text(value) for tag, value in sorted(tags.items()) if tag not in hidden
    }
    return dict(list(named.items())[:MAX_TAGS])


def _text(value: object) -> str:
    """Readable, bounded and free of control characters."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    text = "".join(character if character.isprintable() else " " for character in str(value)).strip()
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
