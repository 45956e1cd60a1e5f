"""What is not supported is named for what it is, and a preview is never judged for the picture."""

import re
import struct

import numpy as np
import pytest
from PIL import Image

from archive_scripts.build import ROOT
from imagetrust.errors import RequestError
from imagetrust.images.decode import decode
from tests.procedural import encoded

CASES = ROOT / "tests" / "data" / "cases"


def refused(data: bytes) -> RequestError:
    with pytest.raises(RequestError) as caught:
        decode(data)
    return caught.value


def box(brand: bytes) -> bytes:
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1isom" + bytes(99)


SIGNATURES = {
    "JPEG XL": [b"\xff\x0a" + bytes(99), b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99), box(b"jxl ")],
    "JPEG 2000": [b"\xff\x4f\xff\x51" + bytes(99), b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(99), box(b"jp2 ")],
    "JPEG XR": [b"II\xbc\1" + bytes(99)],
    "PSD": [b"8BPS\0\1" + bytes(99), b"8BPS\0\2" + bytes(99)],
    "PDF": [b"%PDF-1.7\n" + bytes(99)],
    "SVG": [
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- made by hand -->\n<svg width='9'/>",
        "<?xml version='1.0'?><svg/>".encode("utf-16"),
        b"<!DOCTYPE svg PUBLIC 'x'>\n<SVG/>",
    ],
    "HTML": [b"<!doctype html><p>Not found</p>", b"\n<html><body>404</body></html>"],
    "(CR2)": [b"II*\0\x10\0\0\0CR\2\0" + bytes(4) + struct.pack("<HI", 0, 0)],
    "(CR3)": [box(b"crx ")],
    "(CRW)": [b"II\x1a\0\0\0HEAPCCDR" + bytes(99)],
    "(RAF)": [b"FUJIFILMCCD-RAW 0201" + bytes(99)],
    "(ORF)": [b"IIRO\x08\0\0\0" + bytes(99), b"IIRS\x08\0\0\0" + bytes(99), b"MMOR\0\0\0\x08" + bytes(99)],
    "(RW2)": [b"IIU\0\x08\0\0\0" + bytes(99)],
    "(X3F)": [b"FOVb" + bytes(99)],
    "HEIF with AVC": [box(b"avci")],
    "HEIF with JPEG": [box(b"jpeg")],
    "HEIF with VVC": [box(b"vvic")],
    "a video": [
        box(b"isom"), box(b"mp42"), box(b"qt  "), box(b"avc1"), b"\x1aE\xdf\xa3" + bytes(99),
        b"RIFF\0\0\0\0AVI LIST" + bytes(99), b"\0\0\1\xba" + bytes(99), b"FLV\1" + bytes(99),
    ],
    "Netpbm": [b"P6\n64 64\n255\n" + bytes(99)],
    "OpenEXR": [b"v/1\1" + bytes(99)],
    "Radiance HDR": [b"#?RADIANCE\n" + bytes(99)],
    "an icon": [b"\0\0\1\0\1\0" + bytes(99)],
    "ZIP": [b"PK\3\4" + bytes(99)],
    "gzip": [b"\x1f\x8b\x08\0" + bytes(99)],
}  # fmt: skip


@pytest.mark.parametrize(("name", "data"), [(name, data) for name, each in SIGNATURES.items() for data in each])
def test_a_format_that_is_not_supported_is_named(name, data):
    error = refused(data)
    assert error.code == "unsupported_format" and name in error.message and error.details["formats"]


@pytest.mark.parametrize(
    ("image_format", "name"), [("JPEG2000", "JPEG 2000"), ("ICO", "icon"), ("PPM", "Netpbm"), ("TGA", "TGA")]
)
def test_formats_that_pillow_would_read_are_named(photo, image_format, name):
    assert name in refused(encoded(photo.resize((64, 64)), image_format)).message


ITEM = re.compile(rb"(infe\x02.{7})hvc1", re.DOTALL)


@pytest.mark.parametrize("kind", [b"iden", b"iovl", b"mski", b"tili", b"unci"])
def test_a_heif_of_what_no_camera_writes_is_refused_before_libheif_reads_it(kind):
    data = (CASES.parent / "gradient.heic").read_bytes()
    changed, count = ITEM.subn(rb"\1" + kind, data)
    assert count == 1 and refused(changed).code == "unsupported_format"
    assert decode(data).format == "HEIF"


@pytest.mark.parametrize("entry", [b"infe\3" + bytes(9), b"infe" + bytes(8) + b"\2" + bytes(7), b"infe\4" + bytes(9)])
def test_an_entry_is_found_in_every_layout(entry):
    """An item's number of 32 bits, a box's size of 64, a version to come."""
    assert "uncompressed" in refused(box(b"mif1") + entry + b"unci" + bytes(99)).message


FRAMES = {
    0xC3: "lossless", 0xC5: "hierarchical", 0xC6: "hierarchical", 0xC7: "hierarchical, lossless", 0xC9: "arithmetic",
    0xCA: "progressive JPEG with arithmetic", 0xCB: "lossless JPEG with arithmetic", 0xCD: "arithmetic",
    0xCE: "arithmetic", 0xCF: "lossless JPEG with arithmetic", 0xDE: "hierarchical", 0xF7: "JPEG-LS",
}  # fmt: skip


def frame_of(data: bytes) -> int:
    return next(data.index(b"\xff" + bytes([marker])) for marker in (0xC0, 0xC2) if b"\xff" + bytes([marker]) in data)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize(("marker", "name"), FRAMES.items())
def test_kinds_of_jpeg(photo, marker, name, progressive):
    data = bytearray(encoded(photo, "JPEG", progressive=progressive))
    data[frame_of(data) + 1] = marker
    error = refused(bytes(data))
    assert error.code == "unsupported_format" and name in error.message and "JPEG" in error.message


@pytest.mark.parametrize("bits", [2, 12, 16])
def test_bits_of_a_jpeg(photo, bits):
    data = bytearray(encoded(photo, "JPEG"))
    data[frame_of(data) + 4] = bits
    assert f"{bits}-bit JPEG" in refused(bytes(data)).message


@pytest.mark.parametrize("layers", [2, 5])
def test_layers_of_a_jpeg(photo, layers):
    data = bytearray(encoded(photo, "JPEG"))
    data[frame_of(data) + 9] = layers
    error = refused(bytes(data))
    assert error.code == "unsupported_format" and f"{layers}-layer" in error.message


def test_a_jpeg_that_tells_its_height_later(photo):
    data = bytearray(encoded(photo, "JPEG"))
    data[frame_of(data) + 5 : frame_of(data) + 7] = b"\0\0"
    assert "DNL" in refused(bytes(data)).message


def test_a_frame_in_an_embedded_thumbnail_is_not_the_pictures(photo):
    """EXIF holds a JPEG of its own."""
    inner = bytearray(encoded(photo.resize((64, 48)), "JPEG"))
    inner[frame_of(inner) + 4] = 12
    added = b"\xff\xe1" + struct.pack(">H", 2 + len(inner)) + inner
    data = encoded(photo, "JPEG")
    assert decode(data[:2] + added + data[2:]).size == photo.size


def tiff(
    order: str = "<", big: bool = False, sub: list[dict[int, int]] | None = None, pixels: bytes = b"", **tags: int
) -> bytes:
    """A TIFF of one 64 x 48 page, grey of 8 bits where the tags, `tN=value`, say nothing else.

    sub: tags of its sub-directories.
    """
    pixels = pixels or bytes(range(64)) * 48
    link = "Q" if big else "I"
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    head += struct.pack(order + "HHQ", 8, 0, 0) if big else struct.pack(order + "I", 0)
    body = bytearray(head + pixels)

    def write(values: dict[int, int | bytes]) -> int:
        nonlocal body
        entries = b""
        for tag, value in sorted(values.items()):
            kind, content = (2, value) if isinstance(value, bytes) else (4, struct.pack(order + "I", value))
            count = len(content) if kind == 2 else 1
            if len(content) > (8 if big else 4):
                body += content
                content = struct.pack(order + link, len(body) - len(content))
            entries += struct.pack(order + "HH" + link, tag, kind, count) + content.ljust(8 if big else 4, b"\0")
        at = len(body)
        body += struct.pack(order + ("Q" if big else "H"), len(values)) + entries + struct.pack(order + link, 0)
        return at

    inner = [write(one) for one in sub or []]
    first: dict[int, int | bytes] = {
        256: 64, 257: 48, 258: 8, 259: 1, 262: 1, 273: len(head), 277: 1, 278: 48, 279: len(pixels),
    }  # fmt: skip
    first |= {int(name[1:]): value for name, value in tags.items()} | ({330: inner[0]} if inner else {})
    at = write(first)
    body[len(head) - struct.calcsize(link) : len(head)] = struct.pack(order + link, at)
    return bytes(body)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(
    ("made", "name"),
    [
        ({"t50706": 0x01040000}, "(DNG)"),
        ({"t262": 32803}, "raw file"),
        ({"t262": 34892}, "raw file"),
        ({"t271": b"NIKON CORPORATION\0", "sub": [{262: 32803}]}, "(NEF)"),
        ({"t271": b"SONY\0", "t254": 1, "sub": [{262: 32803, 259: 32767}]}, "(ARW)"),
        ({"t271": b"PENTAX\0", "t259": 65535}, "(PEF)"),
        ({"t271": b"Hasselblad\0", "sub": [{262: 32803}]}, "(3FR)"),
        ({"t271": b"An unknown maker\0", "sub": [{262: 32803}]}, "a camera's raw file,"),
        ({"t254": 1}, "reduced preview"),
        ({"t254": 3}, "reduced preview"),
        ({"t254": 65537}, "reduced preview"),
        ({"t255": 2}, "reduced preview"),
        ({"t254": 4}, "mask"),
        ({"t259": 50002}, "JPEG XL"),
        ({"t259": 52546}, "JPEG XL"),
        ({"t259": 34712}, "JPEG 2000"),
        ({"t259": 34887}, "LERC"),
        ({"t259": 6}, "JPEG in its old layout"),
        ({"t258": 8, "t339": 2}, "1 signed sample of 8 bits"),
        ({"t258": 64, "t339": 3}, "1 floating-point sample of 64 bits"),
        ({"t258": 32, "t339": 6}, "1 complex sample"),
        ({"t277": 3, "t258": 32, "t339": 3, "t262": 2}, "3 floating-point samples of 32 bits"),
        ({"t277": 9, "t262": 2}, "9 unsigned samples"),
        ({"t259": 12345}, "compression 12345"),
    ],
)  # fmt: skip
def test_kinds_of_tiff(order, big, made, name):
    error = refused(tiff(order, big, **made))
    assert error.code == "unsupported_format"
    assert ("a BigTIFF in big-endian order" if big and order == ">" else name) in error.message


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
@pytest.mark.parametrize("made", [{}, {"t254": 0}, {"t254": 2}, {"t255": 1}, {"t255": 3}, {"sub": [{254: 1, 256: 9}]}])
def test_a_whole_page_is_judged(order, big, made):
    assert decode(tiff(order, big, **made)).image.getpixel((63, 47)) == (63, 63, 63)


def test_a_directory_that_names_itself_ends():
    data = tiff(sub=[{256: 9}])
    at = struct.unpack_from("<I", data, 4)[0]
    assert decode(data[:-4] + struct.pack("<I", at)).size == (64, 48)


@pytest.mark.parametrize("size", range(0, 200, 3))
def test_a_cut_tiff_is_not_called_unsupported(size):
    """Pillow reads a page whose last entries are missing."""
    data = tiff()
    try:
        assert decode(data[: len(data) - size]).size == (64, 48)
    except RequestError as error:
        assert error.code == "broken_picture"


def test_a_raw_file_that_is_cut_off_is_not_judged_by_its_preview():
    data = tiff(t50706=0x01040000, t50780=1)
    assert "(DNG)" in refused(data[:-10]).message


GREY = {
    "16 bits": (np.linspace(0, 65535, 64 * 48), "u2", {}, 65535),
    "dark 16 bits": (np.linspace(0, 99, 64 * 48), "u2", {}, 65535),
    "signed 16 bits": (np.linspace(0, 32767, 64 * 48), "i2", {"t339": 2}, 32767),
    "dark signed 16 bits": (np.linspace(0, 99, 64 * 48), "i2", {"t339": 2}, 32767),
    "negative 16 bits": (np.linspace(-32768, 32767, 64 * 48), "i2", {"t339": 2}, 32767),
    "32 bits": (np.linspace(0, 2**32 - 1, 64 * 48), "u4", {}, 2**32 - 1),
    "signed 32 bits": (np.linspace(-(2**31), 2**31 - 1, 64 * 48), "i4", {"t339": 2}, 2**31 - 1),
    "floats": (np.linspace(0, 1, 64 * 48), "f4", {"t339": 3}, 1),
    "large floats": (np.linspace(-50, 255, 64 * 48), "f4", {"t339": 3}, 255),
}


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", GREY)
def test_grey_of_many_bits(kind, order, inverted):
    """Each is decoded to the right values or refused with its name."""
    values, numbers, tags, most = GREY[kind]
    stored = values.astype(order + numbers)
    bits = 8 * stored.dtype.itemsize
    data = tiff(order, pixels=stored.tobytes(), t258=bits, t262=0 if inverted else 1, **tags)
    try:
        pixels = np.asarray(decode(data).image)[..., 0].ravel().astype(int)
    except RequestError as error:
        assert error.code == "unsupported_format" and f"{bits} bits" in error.message
        assert inverted or (kind, order) == ("32 bits", ">")
        return
    expected = stored.astype(float).clip(0, most) / most * 255
    assert np.abs(pixels - (255 - expected if inverted else expected)).max() <= 1


def test_grey_of_12_bits():
    values = np.linspace(0, 4095, 64 * 48).astype(int)
    pairs = zip(values[::2], values[1::2], strict=True)
    packed = b"".join(bytes([one >> 4, (one & 15) << 4 | two >> 8, two & 255]) for one, two in pairs)
    pixels = np.asarray(decode(tiff(pixels=packed, t258=12)).image)[..., 0].ravel().astype(int)
    assert np.abs(pixels - values / 4095 * 255).max() <= 1


@pytest.mark.parametrize(
    ("at", "value", "name"),
    [(30, 4, "compression"), (30, 5, "compression"), (28, 5, "pixel depth"), (14, 20, "header")],
)
def test_kinds_of_bmp(photo, at, value, name):
    data = bytearray(encoded(photo, "BMP"))
    data[at] = value
    error = refused(bytes(data))
    assert error.code == "unsupported_format" and name in error.message and "BMP" in error.message


@pytest.mark.parametrize(
    ("case", "name"),
    [("jpeg_12_bit.jpg", "12-bit JPEG"), ("float_rgb.tif", "3 floating-point samples"), ("raw_preview.dng", "(DNG)")],
)
def test_the_files_of_the_cases(case, name):
    error = refused((CASES / case).read_bytes())
    assert error.code == "unsupported_format" and name in error.message


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("size", [1, 3, 7, 11, 13, 29, 60])
def test_a_stub_of_a_supported_format_is_not_called_unsupported(photo, image_format, size):
    assert refused(encoded(photo, image_format)[:size]).code in ("broken_picture", "unknown_format")


def test_one_limit_in_a_message():
    error = refused((CASES / "huge_header.bmp").read_bytes())
    assert error.code == "too_many_pixels" and error.message.count("000000") == 1


def test_a_page_of_a_scanner_is_judged():
    """Fax and scanning programs mark each page of several (bit 1 of NewSubfileType)."""
    pages = [Image.new("L", (64, 48), grey) for grey in (9, 99)]
    data = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:], tiffinfo={254: 2})
    assert decode(data).image.getpixel((5, 5)) == (9, 9, 9)
