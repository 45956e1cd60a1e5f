"""What every viewer shows is decoded, and what lacks pixels is refused."""

import io
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from archive_scripts.build import ROOT
from imagetrust import limits
from imagetrust.errors import RequestError
from imagetrust.images.decode import decode
from tests.procedural import encoded

CASES = ROOT / "tests" / "data" / "cases"
_SIGNATURE = 8


def chunk(kind: bytes, content: bytes, damage: int = 0) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content) ^ damage)


def insert(png: bytes, before: bytes, added: bytes) -> bytes:
    at = png.index(before) - 4 if before else len(png)
    return png[:at] + added + png[at:]


def damaged(png: bytes, kind: bytes) -> bytes:
    """The PNG with another checksum of its first chunk of a kind."""
    at = png.index(kind) - 4
    end = at + 12 + int.from_bytes(png[at : at + 4])
    return png[: end - 1] + bytes([png[end - 1] ^ 1]) + png[end:]


def refused(data: bytes) -> RequestError:
    with pytest.raises(RequestError) as caught:
        decode(data)
    return caught.value


ANCILLARY = {
    b"tEXt": b"parameters\0Steps: 20",
    b"zTXt": b"parameters\0\0" + zlib.compress(b"Steps: 20"),
    b"iTXt": b"parameters\0\0\0\0\0Steps: 20",
    b"gAMA": struct.pack(">I", 45455),
    b"cHRM": struct.pack(">8I", *range(1, 9)),
    b"sRGB": b"\0",
    b"pHYs": struct.pack(">IIB", 2835, 2835, 1),
    b"tIME": b"\x07\xe8\1\2\3\4\5",
    b"iCCP": b"none\0\0" + zlib.compress(b"profile"),
    b"eXIf": b"MM\0\x2a\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0",
    b"bKGD": struct.pack(">3H", 1, 2, 3),
    b"sBIT": b"\x08\x08\x08",
    b"tRNS": struct.pack(">3H", 1, 2, 3),
    b"acTL": struct.pack(">II", 1, 0),
    b"fcTL": struct.pack(">5IHHBB", 0, 320, 240, 0, 0, 1, 10, 0, 0),
    b"caBX": b"\0\0\0\x10jumb",
    b"prVt": b"private",
}


@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
@pytest.mark.parametrize("kind", ANCILLARY)
def test_a_wrong_checksum_of_an_ancillary_chunk_is_passed_over(photo, kind, before):
    png = encoded(photo, "PNG")
    decoded = decode(insert(png, before, chunk(kind, ANCILLARY[kind], damage=0xFF)))
    assert decoded.size == photo.size and decoded.image.tobytes() == photo.tobytes()


def test_the_png_of_the_cases():
    assert decode((CASES / "bad_crc_text.png").read_bytes()).size == (160, 120)


@pytest.mark.parametrize(
    "added",
    [
        chunk(b"zTXt", b"workflow\0\0no zlib at all"),
        chunk(b"zTXt", b"workflow\0\0" + zlib.compress(bytes(3_000_000))),
        chunk(b"zTXt", b"workflow\0\7unknown method"),
        chunk(b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress(bytes(3_000_000))),
        chunk(b"tEXt", b"\xff\0" + bytes(100)),
        chunk(b"iCCP", b"no profile"),
        chunk(b"eXIf", b"no EXIF"),
        chunk(b"tEXt", b"Raw profile type exif\0\nexif\n4\nxyz"),
    ],
)
@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
def test_texts_and_exif_of_no_use_harm_no_picture(photo, added, before):
    assert decode(insert(encoded(photo, "PNG"), before, added)).image.tobytes() == photo.tobytes()


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE", b"IDAT"])
def test_a_wrong_checksum_of_a_critical_chunk_is_named(photo, kind):
    error = refused(damaged(encoded(photo.quantize(64), "PNG"), kind))
    assert error.code == "broken_picture" and kind.decode() in error.message


@pytest.mark.parametrize(
    "tail", [chunk(b"tEXt", b"a" * 99)[:50], b"", b"\0" * 3, b"\1\2\3\4\5\6\7\x08\x09", b"PK\3\4" * 9]
)
def test_a_png_is_whole_with_its_last_pixel(photo, tail):
    png = encoded(photo, "PNG")
    assert decode(png[: png.index(b"IEND") - 4] + tail).image.tobytes() == photo.tobytes()
    assert decode(png + tail).image.tobytes() == photo.tobytes()


def test_an_orientation_from_a_raw_profile_still_turns(photo):
    """ImageMagick writes EXIF as hexadecimal text."""
    exif = b"Exif\0\0" + ANCILLARY[b"eXIf"]
    text = PngInfo()
    text.add_text("Raw profile type exif", f"\nexif\n{len(exif):8}\n{exif.hex()}\n", zip=True)
    assert decode(encoded(photo, "PNG", pnginfo=text)).size == (240, 320)


def test_a_damaged_animation_shows_its_default_image(photo):
    apng = encoded(photo, "PNG", save_all=True, append_images=[photo.rotate(90)])
    for kind in (b"acTL", b"fcTL", b"fdAT"):
        assert decode(damaged(apng, kind)).image.tobytes() == photo.tobytes()


def test_a_png_of_too_many_chunks_is_refused(photo):
    error = refused(insert(encoded(photo, "PNG"), b"IDAT", chunk(b"prVt", b"") * 100_001))
    assert error.code == "broken_picture" and "chunks" in error.message


JPEGS = {
    "baseline": {},
    "optimised": {"optimize": True},
    "full colour": {"subsampling": 0},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 7},
}


@pytest.mark.parametrize("min_side", [None, 100])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
@pytest.mark.parametrize("ending", [b"", b"\xff", b"\xff\xff\xff"])
def test_a_jpeg_without_its_end_marker(photo, options, mode, min_side, ending):
    whole = encoded(photo.convert(mode), "JPEG", quality=85, **options)
    assert whole.endswith(b"\xff\xd9")
    decoded = decode(whole[:-2] + ending, min_side)
    assert decoded.image.tobytes() == decode(whole, min_side).image.tobytes()
    assert decoded.byte_count == len(whole) - 2 + len(ending)


def test_the_jpeg_of_the_cases():
    data = (CASES / "no_end_marker.jpg").read_bytes()
    assert decode(data).image.tobytes() == decode(data + b"\xff\xd9").image.tobytes()


@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.97, 0.99])
def test_a_jpeg_that_lacks_pixels_is_refused(photo, options, share):
    data = encoded(photo, "JPEG", quality=85, **options)
    error = refused(data[: int(len(data) * share)])
    assert error.code == "broken_picture" and "truncated" in error.message


def test_a_progressive_jpeg_that_ends_between_two_scans_is_refused(photo):
    data = encoded(photo, "JPEG", quality=85, progressive=True)
    scans = [at for at in range(len(data) - 1) if data[at : at + 2] in (b"\xff\xda", b"\xff\xc4")]
    for scan in scans[4:]:
        assert refused(data[:scan]).code == "broken_picture"


def test_a_jpeg_whose_exif_is_none(photo):
    exif = b"Exif\0\0" + b"no EXIF at all"
    data = encoded(photo, "JPEG")
    added = b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif
    assert decode(data[:2] + added + data[2:]).image.tobytes() == decode(data).image.tobytes()


def gif(size: tuple[int, int], frame: Image.Image, at: tuple[int, int], transparent: bool = False) -> bytes:
    """A GIF whose first frame lies at a place of a larger screen; the palette's first entry is brown."""
    options = {"transparency": 1} if transparent else {}
    data = bytearray(encoded(frame, "GIF", **options))
    data[6:10] = struct.pack("<2H", *size)
    descriptor = data.index(b"," + struct.pack("<4H", 0, 0, *frame.size))
    data[descriptor + 1 : descriptor + 5] = struct.pack("<2H", *at)
    return bytes(data)


@pytest.mark.parametrize("mode", ["P", "L"])
@pytest.mark.parametrize("at", [(0, 0), (20, 10), (56, 44)])
@pytest.mark.parametrize("transparent", [False, True])
def test_what_a_first_frame_leaves_uncovered_is_white(at, mode, transparent):
    frame = Image.new(mode, (40, 36), 2)
    if mode == "P":
        frame.putpalette([120, 70, 20, 1, 2, 3, 200, 30, 40])
    pixels = np.asarray(decode(gif((96, 80), frame, at, transparent)).image)
    inside = np.zeros((80, 96), bool)
    inside[at[1] : at[1] + 36, at[0] : at[0] + 40] = True
    assert (pixels[~inside] == 255).all()
    assert (pixels[inside] == ((200, 30, 40) if mode == "P" else (2, 2, 2))).all()


@pytest.mark.parametrize("has_alpha", [False, True])
def test_a_partial_first_frame_of_an_animated_webp_too(has_alpha):
    def part(kind: bytes, content: bytes) -> bytes:
        return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)

    def short(number: int) -> bytes:
        return struct.pack("<I", number)[:3]

    still = encoded(Image.new("RGB", (40, 30), (200, 30, 40)), "WEBP", lossless=True)
    frame = part(b"ANMF", b"".join(map(short, (5, 6, 39, 29, 100))) + b"\0" + still[12:])
    header = part(b"VP8X", bytes([2 | 16 * has_alpha, 0, 0, 0]) + short(79) + short(59))
    body = b"WEBP" + header + part(b"ANIM", b"\xff\0\0\xff\0\0") + frame * 2
    image = decode(part(b"RIFF", body)).image
    assert image.getpixel((9, 20)) == image.getpixel((60, 20)) == image.getpixel((20, 50)) == (255, 255, 255)
    assert image.getpixel((10, 12)) == image.getpixel((49, 41)) == (200, 30, 40)


def test_the_gif_of_the_cases():
    image = decode((CASES / "partial_first_frame.gif").read_bytes()).image
    assert image.getpixel((0, 0)) == (255, 255, 255)
    with Image.open(io.BytesIO((CASES / "partial_first_frame.gif").read_bytes())) as opened:
        box = opened.tile[0].extents
        assert image.crop(box).tobytes() == opened.convert("RGB").crop(box).tobytes()


@pytest.mark.parametrize(
    "filling",
    [b"\xff", b"\xff\0", b"\xff\xe1\0\2", b"\xff\xe1\0\0", b"\0", b"\xff\xd0"],
    ids=["fill bytes", "stuffed bytes", "empty segments", "segments without length", "junk", "restarts"],
)
def test_a_jpeg_of_nothing_is_refused_at_once(filling):
    """Pillow alone takes seconds for it."""
    data = b"\xff\xd8" + filling * ((limits.MAX_BYTES - 2) // len(filling))
    begin = time.process_time()
    assert refused(data).code == "broken_picture"
    assert time.process_time() - begin < 1.5


def test_a_png_of_the_most_chunks_is_read_in_time(photo):
    data = insert(encoded(photo, "PNG"), b"IDAT", chunk(b"tEXt", b"a\0b") * 90_000)
    begin = time.process_time()
    assert decode(data).size == photo.size
    assert time.process_time() - begin < 3
