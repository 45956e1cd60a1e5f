"""Parts of a file read as one."""

import io

import pytest

from imagetrust.images.parts import Parts


def parts(*contents: bytes) -> io.BufferedReader:
    return io.BufferedReader(Parts(*map(memoryview, contents)))


@pytest.mark.parametrize("contents", [(), (b"",), (b"abc",), (b"ab", b"", b"cdef", b"g")])
@pytest.mark.parametrize("length", [1, 2, 3, -1])
def test_they_stand_one_behind_the_other(contents, length):
    read, whole = parts(*contents), b"".join(contents)
    assert b"".join(iter(lambda: read.read(length), b"")) == whole


def test_every_place_can_be_gone_to():
    read = parts(b"ab", b"cdef", b"g")
    for place in range(9):
        assert read.seek(place) == place and read.read() == b"abcdefg"[place:]
    assert read.seek(-3, io.SEEK_END) == 4 and read.read(2) == b"ef"
