"""The texts of a PNG by keyword, and the blocks of metadata that ImageMagick writes among them."""

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from imagetrust.provenance.bounds import MAX_TEXT_BYTES, MAX_TEXT_CHUNKS, TooLarge, check_size
from imagetrust.provenance.characters import decode_text

_MAX_KEYWORD = 79  # PNG 1.2, 4.2.3
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
XMP_KEYWORD = "XML:com.adobe.xmp"
_PROFILE = re.compile(r"raw profile type (\w+)", re.IGNORECASE)
# ImageMagick, coders/png.c: a line feed, the name, the length in decimal digits, and lines of hexadecimal digits.
_PROFILE_TEXT = re.compile(r"\s*\w*\s+\d+\s+([0-9a-fA-F\s]*)")


@dataclass(frozen=True)
class PngTexts:
    """by_keyword: all texts, profiles and XMP included. faults: of chunks that cannot be read."""

    by_keyword: Mapping[str, str]
    faults: tuple[str, ...] = ()

    def plain(self) -> dict[str, str]:
        """Return the texts that are no block of other metadata; a colour profile in hexadecimal digits is one too."""
        return {
            keyword: text
            for keyword, text in self.by_keyword.items()
            if keyword != XMP_KEYWORD and not _PROFILE.fullmatch(keyword)
        }

    def profiles(self, *names: str) -> Iterator[bytes]:
        """Yield the blocks of these names, such as "exif", "xmp" or "iptc"; raise ValueError on broken ones."""
        for keyword, text in self.by_keyword.items():
            found = _PROFILE.fullmatch(keyword)
            if found and found[1].lower() in names:
                digits = _PROFILE_TEXT.fullmatch(text)
                if not digits:
                    raise ValueError(f"the PNG's text {keyword} does not hold hexadecimal digits")
                yield bytes.fromhex("".join(digits[1].split()))


def read_png_texts(data: bytes, chunks: Iterable[tuple[bytes, int, int]]) -> PngTexts:
    """Read the text chunks, those after the pixels included: PNG 1.2, 4.2.3.

    chunks: type, offset of the content and its length. A broken chunk becomes a fault, as does what is over the bounds.
    """
    texts: dict[str, str] = {}
    faults: dict[str, None] = {}
    left = MAX_TEXT_BYTES
    text_chunks = (chunk for chunk in chunks if chunk[0] in _TEXT_CHUNKS)
    for kind, position, length in islice(text_chunks, MAX_TEXT_CHUNKS):
        keyword, _, content = data[position : position + length].partition(b"\0")
        name = keyword[:_MAX_KEYWORD].decode("latin-1")
        try:
            raw = _content(kind, content, left)
        except (ValueError, zlib.error, TooLarge) as error:
            faults[f"the PNG's text {name}: {error}"] = None
            continue
        left -= len(raw)
        texts[name] = decode_text(raw)
    if next(text_chunks, None):
        faults[f"the PNG has more than {MAX_TEXT_CHUNKS} texts"] = None
    return PngTexts(texts, tuple(faults))


def _content(kind: bytes, content: bytes, limit: int) -> bytes:
    """Return a chunk's text, unpacked. Only iTXt is said to hold UTF-8, but many programs write it into the others."""
    is_packed = kind == b"zTXt"
    if is_packed:
        method, content = content[:1], content[1:]
    elif kind == b"iTXt":
        flag, method, content = content[:1], content[1:2], content[2:]
        is_packed = flag == b"\1"
        # A language and the keyword in that language come first.
        _, first, content = content.partition(b"\0")
        _, second, content = content.partition(b"\0")
        if not first or not second:
            raise ValueError("it is cut off")
    if not is_packed:
        check_size(len(content), limit)
        return content
    if method != b"\0":
        raise ValueError("it is packed by an unknown method")
    unpacking = zlib.decompressobj()
    text = unpacking.decompress(content, limit + 1)
    if len(text) > limit:
        raise TooLarge(f"unpacked, it has more than {limit} bytes")
    if not unpacking.eof:
        raise ValueError("it is cut off")
    return text
