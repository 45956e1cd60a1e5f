import email.utils
import time

import pytest

from imagetrust.client import exchange
from imagetrust.client.exchange import content_type

STARTS = {
    b"\xff\xd8\xff\xe1": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"RIFF\x10\0\0\0WEBPVP8 ": "image/webp",
    b"RIFF\x0a\x0a\x0a\x0aWEBP": "image/webp",
    b"\0\0\0\x1cftypavif": "image/avif",
    b"\0\0\0\x1cftypavis": "image/avif",
    b"\0\0\0\x18ftypheic": "image/heic",
    b"\0\0\0\x18ftyphevx": "image/heic",
    b"\0\0\0\x18ftypmif1": "image/heif",
    b"II*\0": "image/tiff",
    b"MM\0*": "image/tiff",
    b"II+\0": "image/tiff",
    b"MM\0+": "image/tiff",
    b"GIF89a": "image/gif",
    b"GIF87a": "image/gif",
    b"BM\x36": "image/bmp",
    b"RIFF\x10\0\0\0WAVE": "application/octet-stream",
    b"\0\0\0\x18ftypisom": "application/octet-stream",
    b"hello": "application/octet-stream",
    b"": "application/octet-stream",
}


@pytest.mark.parametrize("start", STARTS)
def test_the_content_type_is_that_of_the_first_bytes(start):
    assert content_type(start) == STARTS[start]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("5", 5),
        (" 5 ", 5),
        ("0", 0),
        ("soon", None),
        ("-1", None),
        ("", None),
        ("٣", None),
        ("9" * 20, 1e20),
    ],
)
def test_retry_after_is_read_as_seconds(value, seconds):
    assert exchange._seconds(value) == pytest.approx(seconds)


def test_retry_after_is_read_as_a_date():
    later, earlier = (email.utils.formatdate(time.time() + offset, usegmt=True) for offset in (30, -30))
    assert exchange._seconds(later) == pytest.approx(30, abs=2)
    assert exchange._seconds(earlier) == 0
