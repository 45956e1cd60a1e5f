"""Reads the directories of EXIF data and TIFF files: TIFF 6.0, BigTIFF, and EXIF 3.0 with its texts in UTF-8."""

import re
import struct
from collections.abc import Iterator

from PIL import TiffImagePlugin

from imagetrust.provenance.bounds import MAX_EXIF_DIRECTORY_BYTES, MAX_TEXT, check_size
from imagetrust.provenance.characters import decode_text

Value = int | float | str | memoryview | TiffImagePlugin.IFDRational | tuple["Value", ...]

_HEAD = re.compile(rb"II\*\0|MM\0\*|II\+\0\x08\0\0\0|MM\0\+\0\x08\0\0")
_MAX_HEAD_OFFSET = 16  # bytes before it, such as "Exif\0\0"
_TEXTS = (2, 129)  # ASCII, and EXIF 3.0's UTF-8
_BYTES = (1, 6, 7)
_RATIONALS = (5, 10)
_SIZES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}  # bytes of one item, by type
_FORMS = {3: "H", 4: "I", 5: "II", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q"}


def is_exif(data: bytes) -> bool:
    """Whether data begin like EXIF data, what may stand before them included."""
    found = _HEAD.search(data, 0, _MAX_HEAD_OFFSET + 8)
    return found is not None and found.start() <= _MAX_HEAD_OFFSET


class ExifBlock:
    """The bytes that offsets in EXIF data count from: a block of EXIF data, or a whole TIFF.

    order: "<" or ">". faults: what the directories that were read name and do not hold.
    """

    def __init__(self, data: bytes) -> None:
        """Raise ValueError where the data are no TIFF."""
        head = _HEAD.search(data, 0, _MAX_HEAD_OFFSET + 8)
        if not head or head.start() > _MAX_HEAD_OFFSET:
            raise ValueError(f"they do not begin like a TIFF, but with {data[:8]!r}")
        self.data = memoryview(data)[head.start() :]
        self.order = "<" if head[0][:1] == b"I" else ">"
        self.faults: dict[str, None] = {}
        self._is_big = b"+" in head[0]
        # The forms of: where the first directory lies, a count of entries, an entry, an offset.
        self._offset, self._count, self._entry = ("Q", "Q", "HHQ") if self._is_big else ("I", "H", "HHI")
        self._first = self._number(self._offset, 8 if self._is_big else 4)

    def first(self) -> dict[int, Value]:
        """Return the values by tag of the first directory."""
        return self._values(self._first)

    def second(self) -> dict[int, Value]:
        """Return those of the second one, which describes the thumbnail; many files name one that they lack."""
        count = self._number(self._count, self._first or 0)
        if self._first is None or count is None:
            return {}
        size = struct.calcsize(self.order + self._count)
        offset = self._number(self._offset, self._first + size + count * self._entry_bytes)
        return self._values(offset) if offset and offset + size <= len(self.data) else {}

    def pointed_to(self, offset: object) -> dict[int, Value]:
        """Return those of the directory at an offset, as another directory names it."""
        return self._values(offset) if isinstance(offset, int) and offset > 0 else {}

    def raw(self, tag: int) -> bytes:
        """Return the bytes of one value of the first directory; empty where there is none."""
        return next((bytes(raw) for found, _, raw in self._entries(self._first) if found == tag), b"")

    @property
    def _entry_bytes(self) -> int:
        return 20 if self._is_big else 12

    def _values(self, offset: int | None) -> dict[int, Value]:
        """Raise TooLarge where there is more than is to be turned into numbers and texts; bytes stay as they are."""
        values: dict[int, Value] = {}
        total = 0
        for tag, kind, raw in self._entries(offset):
            if kind not in _BYTES + _TEXTS:
                raw = raw[: MAX_TEXT * _SIZES[kind]]  # no more of a list is told
            total += 0 if kind in _BYTES else len(raw)
            check_size(total, MAX_EXIF_DIRECTORY_BYTES)
            values[tag] = self._value(kind, raw)
        return values

    def _entries(self, offset: int | None) -> Iterator[tuple[int, int, memoryview]]:
        """Tag, type and bytes of each value of a known type; what lies outside the data becomes a fault."""
        count = self._number(self._count, -1 if offset is None else offset)
        if offset is None or count is None:
            self.faults["a directory lies outside the data"] = None
            return
        inline = struct.calcsize(self.order + self._offset)
        start = offset + struct.calcsize(self.order + self._count)
        whole = max(0, (len(self.data) - start) // self._entry_bytes)
        if count > whole:
            self.faults[f"a directory of {count} entries is cut off"] = None
        for position in range(start, start + self._entry_bytes * min(count, whole, 0xFFFF), self._entry_bytes):
            tag, kind, items = struct.unpack_from(self.order + self._entry, self.data, position)
            if kind and kind not in _BYTES + _TEXTS and kind not in _SIZES:  # without a type, an entry is padding
                self.faults[f"the value of tag 0x{tag:04x} is of the unknown type {kind}"] = None
            size = items * (1 if kind in _BYTES + _TEXTS else _SIZES.get(kind, 0))
            at: int | None = position + self._entry_bytes - inline
            if size > inline:
                at = self._number(self._offset, position + self._entry_bytes - inline)
            if at is None or at + size > len(self.data):
                self.faults[f"the value of tag 0x{tag:04x} lies outside the data"] = None
            elif size:
                yield tag, kind, self.data[at : at + size]

    def _value(self, kind: int, raw: memoryview) -> Value:
        if kind in _BYTES:
            return raw
        if kind in _TEXTS:
            return decode_text(bytes(raw).rstrip(b"\0"))
        items: list[Value]
        numbers = struct.iter_unpack(self.order + _FORMS[kind], raw)
        if kind in _RATIONALS:
            items = [TiffImagePlugin.IFDRational(*pair) for pair in numbers]
        else:
            items = [number for (number,) in numbers]
        return items[0] if len(items) == 1 else tuple(items)

    def _number(self, form: str, position: int) -> int | None:
        size = struct.calcsize(self.order + form)
        if not 0 <= position <= len(self.data) - size:
            return None
        return int(struct.unpack_from(self.order + form, self.data, position)[0])
