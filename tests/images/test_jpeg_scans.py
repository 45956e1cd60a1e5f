"""A progressive JPEG at an eighth of its size has the pixels that libjpeg makes of all of its scans."""

import io
import itertools
import re
import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imagetrust.errors import RequestError
from imagetrust.images import decode as decoding
from imagetrust.images.decode import decode
from imagetrust.images.jpeg_scans import at_an_eighth, read_scans
from tests.procedural import encoded, scene

SIZES = [(256, 257), (261, 300), (300, 271), (263, 263)]
PROGRESSIVE = {"progressive": True, "quality": 90}


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(width * height)
    pixels = scene(rng, width, height) + rng.normal(0, 15, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert(mode)


def plain(data: bytes) -> Image.Image:
    """What Pillow makes of all scans at an eighth."""
    with Image.open(io.BytesIO(data)) as opened:
        opened.draft(None, (opened.width // 8, opened.height // 8))
        return opened.convert("RGB")


def scan_headers(data: bytes) -> list[int]:
    return [found.start() for found in re.finditer(rb"\xff\xda\0[\x08\x0a\x0c\x0e]", data)]


def without_scan(data: bytes, number: int) -> bytes:
    scans = read_scans(data).scans
    return data[: scans[number].start] + data[scans[number].stop :]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("options", [{}, {"restart_marker_blocks": 7}, {"restart_marker_rows": 1}, {"quality": 30}])
@pytest.mark.parametrize(
    ("mode", "subsampling"), [("RGB", "4:4:4"), ("RGB", "4:2:2"), ("RGB", "4:2:0"), ("L", "4:4:4"), ("CMYK", "4:4:4")]
)
def test_the_pixels_are_those_of_all_scans(size, mode, subsampling, options):
    data = encoded(picture(*size, mode), "JPEG", **PROGRESSIVE | {"subsampling": subsampling} | options)
    shorter = at_an_eighth(data).read()
    assert len(shorter) < len(data) / 2
    assert len(scan_headers(shorter)) < len(scan_headers(data))
    decoded = decode(data, 32)
    assert decoded.size == size and decoded.image.tobytes() == plain(data).tobytes()


@pytest.mark.parametrize("size", [(256, 257), (1456, 1456)])
@pytest.mark.parametrize("options", [{}, {"restart_marker_blocks": 7}])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_the_shorter_file_is_whole(capfd, size, subsampling, options):
    """OpenCV lets libjpeg complain of what is missing or odd."""
    data = encoded(picture(*size), "JPEG", **PROGRESSIVE | {"subsampling": subsampling} | options)
    shorter = at_an_eighth(data).read()
    assert cv2.imdecode(np.frombuffer(shorter, np.uint8), cv2.IMREAD_COLOR).shape == (*size[::-1], 3)
    assert capfd.readouterr().err == ""
    cv2.imdecode(np.frombuffer(shorter[:-3] + b"\xff\xd9", np.uint8), cv2.IMREAD_COLOR)
    assert "Corrupt JPEG data" in capfd.readouterr().err


def test_runs_of_more_blocks_than_one_code_holds():
    """1456 x 1456 pixels are 33,124 blocks; a code is for 32,767, and has a byte that must be stuffed."""
    data = encoded(Image.effect_noise((1456, 1456), 60), "JPEG", **PROGRESSIVE)
    assert b"\xff\0" in at_an_eighth(data).read()[-30:]
    assert decode(data, 182).image.tobytes() == plain(data).tobytes()


@pytest.mark.parametrize(
    "order",
    [
        (0, 6, 1, 4, 5, 9, 2, 7, 3, 8),  # the means in full first, then a component after the other
        (0, 6, 3, 8, 2, 7, 1, 4, 5, 9),  # colour first
        (0, 4, 1, 5, 9, 2, 7, 3, 8, 6),  # the means' last bit last
    ],
)
def test_scans_in_another_order(order):
    """As other encoders write them. A scan is moved with the tables before it."""
    data = encoded(picture(264, 320), "JPEG", **PROGRESSIVE)
    read = read_scans(data)
    stops = [data.index(b"\xff\xc4"), *(scan.stop for scan in read.scans)]
    parts = [data[begin:end] for begin, end in itertools.pairwise(stops)]
    moved = data[: stops[0]] + b"".join(parts[number] for number in order) + data[read.end :]
    assert decode(moved).image.tobytes() == decode(data).image.tobytes()
    assert len(at_an_eighth(moved).read()) < len(data) / 2
    assert decode(moved, 33).image.tobytes() == plain(data).tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_upright_too(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(264, 320), "JPEG", exif=exif, **PROGRESSIVE)
    upright = plain(data)
    if orientation > 1:
        upright = upright.transpose(decoding._UPRIGHT[orientation])
    decoded = decode(data, 33).image
    assert decoded.size == upright.size and decoded.tobytes() == upright.tobytes()


def test_a_camera_jpeg_with_further_pictures():
    first, second = picture(264, 320), picture(320, 264)
    data = encoded(first, "MPO", save_all=True, append_images=[second], **PROGRESSIVE)
    assert at_an_eighth(data).read() != data
    assert decode(data, 33).image.tobytes() == plain(data).tobytes()


@pytest.mark.parametrize("tail", [b"", b"\xff", bytes(99), b"\xff\xd9"])
def test_with_and_without_its_end(tail):
    data = encoded(picture(264, 320), "JPEG", **PROGRESSIVE)
    assert decode(data + tail, 33).image.tobytes() == plain(data).tobytes()
    assert decode(data[:-2] + tail[:1], 33).image.tobytes() == plain(data).tobytes()
    assert at_an_eighth(data[:-2]) is None


def test_damage_where_no_pixel_comes_from_is_passed_over():
    data = encoded(picture(264, 320), "JPEG", **PROGRESSIVE)
    scan = max(read_scans(data).scans, key=lambda scan: scan.stop - scan.start)
    assert scan.first > 0
    middle = (scan.start + scan.stop) // 2
    damaged = data[:middle] + bytes(40) + data[middle + 40 :]
    assert decode(damaged, 33).image.tobytes() == plain(data).tobytes() == plain(damaged).tobytes()


@pytest.mark.parametrize("number", range(1, 10))
def test_a_file_that_lacks_a_last_scan_keeps_all(number):
    """libjpeg guesses the bits that are missing, from the means around."""
    data = encoded(picture(264, 320), "JPEG", **PROGRESSIVE)
    scans = read_scans(data).scans
    assert len(scans) == 10
    part = without_scan(data, number)
    assert (at_an_eighth(part) is None) == (scans[number].low == 0)
    assert decode(part, 33).image.tobytes() == plain(part).tobytes()


@pytest.mark.parametrize(("at", "value"), [(-3, 64), (-2, 0xF0), (-2, 0), (-1, 0x30), (-1, 0x0E), (1, 9)])
def test_a_scan_that_libjpeg_refuses_is_refused(at, value):
    """Its last header: component, tables, first and last coefficient, bits."""
    data = bytearray(encoded(picture(264, 320), "JPEG", **PROGRESSIVE))
    header = scan_headers(data)[-1] + 5
    content = slice(header, header + 5)
    changed = bytearray(data[content])
    changed[{-3: 2, -2: 3, -1: 4, 1: 0}[at]] = value
    data[content] = changed
    with pytest.raises(RequestError) as caught:
        decode(bytes(data), 33)
    assert caught.value.code == "broken_picture"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), min_size=1, max_size=4), st.booleans())
def test_no_damage_changes_what_is_seen(changes, is_full_colour):
    """Damage in what is left out is passed over; any other gives the same pixels, or the same refusal."""
    damaged = bytearray(encoded(picture(256, 257), "JPEG", **PROGRESSIVE | {"subsampling": 0 if is_full_colour else 2}))
    for position, value in changes:
        damaged[position % len(damaged)] = value

    def outcome() -> bytes | str:
        try:
            return decode(bytes(damaged), 32).image.tobytes()
        except RequestError as error:
            return error.code

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(decoding, "at_an_eighth", lambda data: None)
        whole = outcome()
    assert outcome() == whole or whole == "broken_picture"


def test_other_sizes_and_kinds_are_decoded_from_the_whole_file(monkeypatch):
    monkeypatch.setattr(decoding, "at_an_eighth", lambda data: pytest.fail("read in part"))
    progressive, baseline = (encoded(picture(264, 320), "JPEG", progressive=progressive) for progressive in (1, 0))
    for data, min_side in ((progressive, None), (progressive, 34), (progressive, 66), (baseline, 33)):
        assert decode(data, min_side).size == (264, 320)


@pytest.mark.parametrize(
    "filling", [b"\xff\xda\0\x08\1\1\0\1\x3f\0", b"\xff\xc4\0\2", b"\xff\xc2\0\x0b\x08\0\1\0\1\1\1\x11\0"]
)
def test_a_file_of_scans_alone_is_read_in_time(filling):
    data = encoded(picture(264, 320), "JPEG", **PROGRESSIVE)
    begin = time.process_time()
    assert read_scans(data[:-2] + filling * (20_000_000 // len(filling))) is None
    assert time.process_time() - begin < 1
