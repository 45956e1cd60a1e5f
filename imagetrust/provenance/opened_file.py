"""A file whose header is open and whose pixels are decoded: what every reader of declarations is given."""

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Protocol

from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from imagetrust.provenance.bounds import MAX_BLOCKS, MAX_EXIF_BLOCKS, check_size
from imagetrust.provenance.exif_directory import ExifBlock, is_exif
from imagetrust.provenance.png_texts import PngTexts, read_png_texts

_C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")  # C2PA 2.2, A.5.1: the box in ISO BMFF files
_C2PA_TIFF_TAG = 0xCD41  # C2PA 2.2, A.3.6
_C2PA_GIF_EXTENSION = b"C2PA_GIF\x01\x00\x00"  # C2PA 2.2, A.3.3
_START_OF_SCAN = 0xDA
_EXIF_HEAD = re.compile(rb"\A(?:Exif\0\0){1,2}")  # some programs write it twice
_JPEG_METADATA = (*range(0xE0, 0xF0), 0xFE)  # APP0 to APP15 and COM


class DecodedImage(Protocol):
    """What the reader of declarations needs of the decoder, beside the file's bytes."""

    @property
    def image(self) -> Image.Image:
        """The upright image, RGB; it may be smaller than the file's."""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the file's image, upright, in pixels."""

    @property
    def format(self) -> str:
        """Pillow's name of the format, JPEG for MPO."""

    @property
    def exif(self) -> Image.Exif:
        """The file's EXIF tags as Pillow reads them, before the orientation was applied."""


@dataclass(frozen=True)
class OpenedFile:
    """header: opened anew, not decoded, since the decoded image no longer carries what stood around its pixels."""

    data: bytes
    decoded: DecodedImage
    header: ImageFile.ImageFile

    @classmethod
    def open(cls, data: bytes, decoded: DecodedImage) -> "OpenedFile":
        """Raise what Pillow raises where the header cannot be read, TooLarge where it has too many blocks."""
        _check_blocks(data)
        return cls(data, decoded, Image.open(io.BytesIO(data), formats=(decoded.format,)))

    def jpeg_segments(self, *names: str) -> list[bytes]:
        """Return the contents of the JPEG segments of these names ("APP11", "COM") before the pixels; else none."""
        if not isinstance(self.header, JpegImagePlugin.JpegImageFile):
            return []
        return [content for segment, content in self.header.applist if segment in names]

    @cached_property
    def png_texts(self) -> PngTexts:
        """The texts of a PNG; none in other formats."""
        return read_png_texts(self.data, self.png_chunks)

    @property
    def is_tiff(self) -> bool:
        """Whether the file itself is laid out like EXIF data."""
        return isinstance(self.header, TiffImagePlugin.TiffImageFile)

    @cached_property
    def exif_blocks(self) -> list[bytes]:
        """The blocks of EXIF data, at most MAX_EXIF_BLOCKS, or the whole of a TIFF; none is empty.

        Raises ValueError where a carrier of them is broken.
        """
        if self.is_tiff:
            return [self.data]
        blocks = (_EXIF_HEAD.sub(b"", block) for block in self._found_exif_blocks())
        return list(islice(dict.fromkeys(block for block in blocks if block.strip(b"\0")), MAX_EXIF_BLOCKS))

    @cached_property
    def readable_exif(self) -> ExifBlock | None:
        """The first block where it is EXIF, for readers of other things than EXIF."""
        try:
            return ExifBlock(self.exif_blocks[0])
        except (ValueError, IndexError):
            return None

    def _found_exif_blocks(self) -> Iterator[bytes]:
        jpeg: list[list[bytes]] = []
        for segment in self.jpeg_segments("APP1"):
            if segment.startswith(b"Exif\0"):
                if not jpeg or is_exif(segment):
                    jpeg.append([segment])
                else:  # what one segment has no room for goes on in the next
                    jpeg[-1].append(segment[len(b"Exif\0\0") :])
        yield from map(b"".join, jpeg) if jpeg else (self.header.info.get("exif") or b"",)
        # Where Pillow does not look: after the pixels of a PNG or WebP, and in copies by ImageMagick.
        for kind, start, size in self.png_chunks:
            if kind == b"eXIf":
                yield self.data[start : start + size]
        for kind, content in self.boxes():
            if kind == b"EXIF":
                yield content
        # "APP1" is JPEG's segment, which holds XMP as well.
        yield from (block for block in self.png_texts.profiles("exif", "app1") if not block.startswith(b"http"))

    @cached_property
    def png_chunks(self) -> list[tuple[bytes, int, int]]:
        """Type, offset of the content and its length, for each chunk of a PNG; nothing in other formats."""
        chunks: list[tuple[bytes, int, int]] = []
        position = 8 if isinstance(self.header, PngImagePlugin.PngImageFile) else len(self.data)
        while position + 8 <= len(self.data):
            length, kind = struct.unpack_from(">I4s", self.data, position)
            chunks.append((kind, position + 8, length))
            position += 12 + length
        return chunks

    def pixels_begin(self) -> int:
        """Return the offset before which a JPEG or PNG holds metadata alone; 0 in other formats."""
        if isinstance(self.header, JpegImagePlugin.JpegImageFile):
            position = 2
            while position + 4 <= len(self.data):
                marker, size = struct.unpack_from(">xBH", self.data, position)
                if marker not in _JPEG_METADATA:
                    return position
                position += 2 + size
        return next((start - 8 for kind, start, _ in self.png_chunks if kind in (b"PLTE", b"IDAT")), 0)

    def manifest_store(self) -> bytes:
        """Return the C2PA manifest store in the file, put together from its blocks; empty where there is none."""
        if segments := self.jpeg_segments("APP11"):
            return b"".join(_jumbf_piece(content) for content in segments if content.startswith(b"JP"))
        if isinstance(self.header, TiffImagePlugin.TiffImageFile):
            return bytes(self.header.tag_v2.get(_C2PA_TIFF_TAG, b""))
        if self.header.format == "GIF":
            return b"".join(self.gif_extension(_C2PA_GIF_EXTENSION))
        chunks = [self.data[start : start + size] for kind, start, size in self.png_chunks if kind == b"caBX"]
        return b"".join(chunks + [content for kind, content in self.boxes() if kind in (b"C2PA", _C2PA_UUID)])

    def gif_extension(self, name: bytes) -> Iterator[bytes]:
        """Return the blocks of the first application extension of that name (11 bytes)."""
        head = b"\x21\xff\x0b" + name
        position = self.data.find(head)
        position += len(head) if position >= 0 else len(self.data) + 1
        while position < len(self.data) and (size := self.data[position]):
            yield self.data[position + 1 : position + 1 + size]
            position += 1 + size

    def boxes(self) -> Iterator[tuple[bytes, bytes]]:
        """Type and content of the outermost boxes: RIFF chunks of a WebP, boxes of an AVIF or HEIC (uuid: its UUID)."""
        data, end = self.data, len(self.data)
        if self.header.format == "WEBP":
            position = 12
            while position + 8 <= end:
                kind, size = struct.unpack_from("<4sI", data, position)
                yield kind, data[position + 8 : position + 8 + size]
                position += 8 + size + size % 2
        elif self.header.format in ("AVIF", "HEIF"):
            position = 0
            while position + 8 <= end:
                size, kind = struct.unpack_from(">I4s", data, position)
                if size == 1 and position + 16 <= end:
                    (size,) = struct.unpack_from(">Q", data, position + 8)
                elif size == 0:  # up to the end of the file
                    size = end - position
                if kind == b"uuid":
                    kind = data[position + 8 : position + 24]
                yield kind, data[position + 8 : position + size]
                position += max(8, size)


def _jumbf_piece(segment: bytes) -> bytes:
    """ISO 19566-5, D.2: after identifier, box number and sequence number, later pieces repeat the box's header."""
    return segment[8 if segment[4:8] == b"\0\0\0\1" else 16 :]


def _check_blocks(data: bytes) -> None:
    """Raise TooLarge on a JPEG or PNG of so many tiny blocks that listing them takes seconds."""
    if data.startswith(b"\xff\xd8"):
        position, head, form = 2, 2, ">xBH"
    elif data.startswith(b"\x89PNG"):
        position, head, form = 8, 12, ">I4s"
    else:
        return
    count = 0
    while position + 8 <= len(data):
        count += 1
        check_size(count, MAX_BLOCKS, "blocks")
        first, second = struct.unpack_from(form, data, position)
        if first == _START_OF_SCAN and head == 2:
            return
        position += head + (second if head == 2 else first)
