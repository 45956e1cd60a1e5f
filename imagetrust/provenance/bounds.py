"""The bounds on what is read from a file and on what is answered, and the cutting to them, all in one place."""

import math
from collections.abc import Mapping
from typing import Any

# What a parser is given. A larger block is noted as unreadable and not parsed.
MAX_XMP_BYTES = 4 * 1024 * 1024  # all packets of a file; depth maps of phones take 1 to 3 MiB
MAX_XMP_PACKETS = 8  # of a file; more than a standard and an extended one are rare
MAX_XMP_ELEMENTS = 20_000  # elements of one packet; long histories have a few thousand
MAX_ICC_BYTES = 4 * 1024 * 1024  # press profiles with large tables take 2 to 3 MiB
MAX_EXIF_DIRECTORY_BYTES = 1024 * 1024  # all values of one directory; maker notes of cameras take up to 200 KiB
MAX_EXIF_BLOCKS = 4  # of a file; a second one is rare
MAX_PARAMETER_CHARACTERS = 512 * 1024  # one text of generation parameters; large ComfyUI graphs take 200 KiB
MAX_MANIFEST_BYTES = 4 * 1024 * 1024  # Content Credentials with the thumbnails of a dozen ingredients
MAX_MANIFEST_BOXES = 2000  # checking takes time with the square of their number: 0.15 s for these
MAX_URL_CHARACTERS = 2048  # of a manifest to be fetched; services use about 120
MAX_FETCH_SECONDS = 3.0  # for one manifest: a host that is up takes a fraction, and a worker waits for one that is not
MAX_BOX_ITEMS = 4096  # of an AVIF or HEIC: each tile of a large photograph is one
MAX_BLOCKS = 16384  # JPEG segments before the pixels, or PNG chunks; libpng writes one for 8 KiB of pixels
MAX_TEXT_CHUNKS = 256  # of a PNG
MAX_TEXT_BYTES = 8 * 1024 * 1024  # all texts of a PNG together, unpacked
MAX_TRAILER_RECORDS = 256  # of a Samsung trailer; phones write about a dozen
MAX_TRAILER_TEXT = 256 * 1024  # bytes of one record that is read; histories of edits take up to 100 KiB
MAX_HIDDEN_PIXELS = 4096 * 4096  # of an image that is decoded again for what its lowest bits hold
MAX_HIDDEN_BYTES = 512 * 1024  # of that, packed and unpacked; NovelAI's take 2 KiB
MAX_THUMBNAIL_PIXELS = 1_000_000  # EXIF asks for 160 x 120; phones embed up to 512 x 512

# What is answered.
MAX_FINDINGS = 24
MAX_VALUES = 64  # members of one object
MAX_ITEMS = 24  # items of one list
MAX_TEXT = 1024  # characters of one text
MAX_NAME = 64  # characters of one member's name
MAX_DEPTH = 4  # objects and lists within one another, in one value
MAX_ANSWER_TEXT = 128 * 1024  # characters of all texts of one answer together

_MAX_EXACT_INTEGER = 2**53  # beyond it, JSON readers that hold numbers as doubles change the value
_ELLIPSIS = "…"
# A page that shows a text without escaping it must not find markup in it.
_NO_MARKUP = str.maketrans({"<": "‹", ">": "›"})

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class TooLarge(Exception):
    """A block of the file exceeds what its parser is given."""


def check_size(size: int, limit: int, unit: str = "bytes") -> None:
    """Raise TooLarge, with a message for a person, where size exceeds the limit."""
    if size > limit:
        raise TooLarge(f"it has {size} {unit}; the limit is {limit}")


class Answer:
    """Turns values of any kind into bounded JSON: valid UTF-8 without control characters, markup, NaN or Infinity.

    One object for one answer: the texts of the whole answer share MAX_ANSWER_TEXT.
    """

    def __init__(self) -> None:
        self._characters_left = MAX_ANSWER_TEXT
        self.cut = False  # whether anything was left out since it was last set to False

    def text(self, value: object, limit: int = MAX_TEXT) -> str:
        """One line of printable text, cut and ended in an ellipsis where it is longer than the limit."""
        limit = max(1, min(limit, self._characters_left))
        raw = value if isinstance(value, str) else _as_text(value)
        # Cut before cleaning, with room for the white space that cleaning takes away.
        window = raw[: 4 * limit]
        # Surrogates, which UTF-8 cannot hold, and characters that reorder a line are not printable either.
        spaced = window
        if not window.isprintable():
            spaced = "".join(character if character.isprintable() else " " for character in window)
        clean = " ".join(spaced.translate(_NO_MARKUP).split())
        if len(clean) > limit or len(window) < len(raw):
            clean = clean[: limit - 1] + _ELLIPSIS
            self.cut = True
        self._characters_left -= len(clean)
        return clean

    def json(self, value: object, depth: int = 0) -> Json:
        """Objects and lists keep their shape, up to MAX_DEPTH; what JSON has no type for becomes text."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int) and abs(value) <= _MAX_EXACT_INTEGER:
            return value
        if isinstance(value, float) and math.isfinite(value):
            return value
        if depth < MAX_DEPTH and isinstance(value, Mapping):
            return self._object(value, depth)
        if depth < MAX_DEPTH and isinstance(value, (list, tuple)):
            self.cut |= len(value) > MAX_ITEMS
            return [self.json(item, depth + 1) for item in value[:MAX_ITEMS]]
        return self.text(value)

    def _object(self, value: Mapping[Any, object], depth: int) -> dict[str, Json]:
        members: dict[str, Json] = {}
        for name, member in value.items():
            if len(members) == MAX_VALUES or self._characters_left <= 0:
                self.cut = True
                break
            members[self.text(str(name), MAX_NAME)] = self.json(member, depth + 1)
        return members


def _as_text(value: object) -> str:
    if isinstance(value, (bytes, bytearray)):
        return bytes(value[: 4 * MAX_TEXT]).decode("utf-8", errors="replace")
    if isinstance(value, int):
        return str(value) if value.bit_length() < 256 else f"an integer of {value.bit_length()} bits"
    if isinstance(value, (Mapping, list, tuple)):
        return f"{type(value).__name__} of {len(value)}"
    return str(value)
