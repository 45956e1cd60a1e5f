"""Turns bytes that are meant as text into text, whichever encoding a program chose."""

import codecs

_MARKS = {  # longer ones first: that of UTF-32 in little endian begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}
_UTF16 = {"<": "utf-16-le", ">": "utf-16-be"}
_MAX_JUDGED = 4096  # bytes of a text whose characters are looked at


def decode_text(raw: bytes) -> str:
    """UTF-8, which many programs write where a format asks for Latin-1, else Latin-1; what a mark names comes first."""
    for mark, encoding in _MARKS.items():
        if raw.startswith(mark):
            return raw.decode(encoding, errors="replace")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def decode_utf16(raw: bytes, order: str) -> str:
    """UTF-16 whose byte order nobody tells for sure; order: "<" or ">", the one that is taken where both fit alike.

    The characters of a text are of few blocks of Unicode, so that its higher bytes take fewer values than its lower
    ones. Where they do not, the order that gives fewer unassigned characters is taken, then the one with more ASCII.
    """
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16", errors="replace")

    def unlikeliness(candidate: str) -> tuple[int, int, int, bool]:
        text = raw[:_MAX_JUDGED].decode(_UTF16[candidate], errors="replace")
        strange = sum(not (character.isprintable() or character.isspace()) for character in text)
        higher = len(set(raw[0 if candidate == ">" else 1 :: 2]))
        return higher, strange, -sum(map(str.isascii, text)), candidate != order

    return raw.decode(_UTF16[min(_UTF16, key=unlikeliness)], errors="replace")
