"""Parts of a file as one file."""

import bisect
import io
import itertools
from typing import Any


class Parts(io.RawIOBase):
    """Parts of a file, read as if they stood one behind the other, without a copy of them."""

    def __init__(self, *parts: memoryview) -> None:
        self._parts = [part for part in parts if part]
        self._starts = [0, *itertools.accumulate(map(len, self._parts))]
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position, in bytes, and return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._starts[-1]}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from one part, and return how many bytes came."""
        index = bisect.bisect_right(self._starts, self._position) - 1
        if index >= len(self._parts):
            return 0
        begin = self._position - self._starts[index]
        piece = self._parts[index][begin : begin + len(buffer)]
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)
