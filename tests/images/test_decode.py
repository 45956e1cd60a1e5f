"""Every format that is promised decodes; everything else gets an error that says why."""

import gc
import hashlib
import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from archive_scripts.build import ROOT
from imagetrust import limits
from imagetrust.errors import RequestError
from imagetrust.images.decode import decode
from imagetrust.images.decoding_memory import decoding_bytes
from tests.procedural import encoded

# Of the golden photographs and gradient.heic, whole and at a part of their size, as version 0.5 decoded them.
_GOLDEN_PIXELS = "9a15dffc56444924e2cc5f574e5781bb8a87e77446d4a1034a0395e82ab36b93"
HEIC = Path(__file__).parent.parent / "data" / "gradient.heic"


def colour_error(decoded: Image.Image, expected: Image.Image) -> float:
    """Mean absolute difference of the channels, 0..255."""
    return float(np.abs(np.asarray(decoded, float) - np.asarray(expected.convert("RGB"), float)).mean())


@pytest.mark.parametrize(
    ("name", "image_format", "options", "tolerance"),
    [
        ("jpeg", "JPEG", {"quality": 95}, 6),
        ("progressive jpeg", "JPEG", {"quality": 95, "progressive": True}, 6),
        ("png", "PNG", {}, 0),
        ("webp", "WEBP", {"quality": 95}, 6),
        ("lossless webp", "WEBP", {"lossless": True}, 0),
        ("avif", "AVIF", {"quality": 95}, 6),
        ("bmp", "BMP", {}, 0),
        ("tiff", "TIFF", {"compression": "tiff_lzw"}, 0),
    ],
)
def test_formats(photo, name, image_format, options, tolerance):
    decoded = decode(encoded(photo, image_format, **options))
    assert decoded.format == image_format
    assert decoded.image.mode == "RGB"
    assert decoded.image.size == photo.size
    assert colour_error(decoded.image, photo) <= tolerance


def test_ordinary_files_keep_their_pixels():
    """Models were trained on these very pixels: a change of decoding that changes them needs new models."""
    digest = hashlib.sha256()
    files = [HEIC, *sorted((ROOT / "tests" / "golden").rglob("*.jpg"))]
    for file in files:
        for min_side in (None, 64):
            digest.update(decode(file.read_bytes(), min_side).image.tobytes())
    assert len(files) == 32 and digest.hexdigest() == _GOLDEN_PIXELS


_STORED = {
    "PNG": ("RGB", "L", "P", "1", "RGBA", "LA", "I;16"),
    "TIFF": ("RGB", "L", "P", "1", "RGBA", "LA", "I;16"),
    "GIF": ("L", "P", "1"),
    "BMP": ("RGB", "L", "P", "1", "RGBA"),
    "WEBP": ("RGB", "RGBA"),
}


@pytest.mark.parametrize(("image_format", "mode"), [(name, mode) for name, modes in _STORED.items() for mode in modes])
def test_what_is_stored_without_loss_is_what_is_seen(photo, image_format, mode):
    picture = photo.convert("L" if mode == "I;16" else mode)
    expected = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), picture.convert("RGBA")).convert("RGB")
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)
    options = {"lossless": True} if image_format == "WEBP" else {}
    assert decode(encoded(picture, image_format, **options)).image.tobytes() == expected.tobytes()


def test_cmyk_jpeg(photo):
    decoded = decode(encoded(photo.convert("CMYK"), "JPEG", quality=95))
    assert decoded.mode == "CMYK"
    assert colour_error(decoded.image, photo) < 8


def test_palette_png(photo):
    assert colour_error(decode(encoded(photo.quantize(256), "PNG")).image, photo) < 12


def test_palette_png_with_transparency(photo):
    palette = photo.quantize(16)
    data = encoded(palette, "PNG", transparency=palette.getpixel((0, 0)))
    assert decode(data).image.getpixel((0, 0)) == (255, 255, 255)


def test_transparency_is_shown_on_white():
    half = Image.new("RGBA", (64, 64), (255, 0, 0, 128))
    assert decode(encoded(half, "PNG")).image.getpixel((5, 5)) == pytest.approx((255, 127, 127), abs=1)


def test_grey_and_grey_with_alpha(photo):
    grey = photo.convert("L")
    assert colour_error(decode(encoded(grey, "PNG")).image, grey) == 0
    assert colour_error(decode(encoded(grey.convert("LA"), "PNG")).image, grey) == 0


def on_white(data: bytes) -> Image.Image:
    """What a file's pixels are on white, by Pillow's own composition of all of them."""
    with Image.open(io.BytesIO(data)) as opened:
        layered = opened.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")


def test_every_colour_of_every_transparency():
    across, down = np.meshgrid(np.arange(256), np.arange(256))
    picture = Image.fromarray(np.stack([across, 255 - across, across ^ 85, down], axis=-1).astype(np.uint8))
    for image_format, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("TIFF", {})):
        data = encoded(picture, image_format, **options)
        assert decode(data).image.tobytes() == on_white(data).tobytes()


@pytest.mark.parametrize("orientation", [1, 6, 7])
@pytest.mark.parametrize("size", [(317, 1000), (1000, 317), (33, 40)])  # of several bands, and of one
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "P, one colour", "L", "1", "RGB"])
def test_transparency_of_every_kind_is_what_pillow_composes(mode, size, orientation):
    """A third is opaque, so that some bands are, and a third transparent."""
    grey = Image.linear_gradient("L").resize(size)
    picture = Image.merge("RGB", (grey, grey.point(lambda value: value + 1), grey.point(lambda value: value + 2)))
    picture = picture.quantize(64) if mode.startswith("P") else picture.convert(mode if mode in ("L", "1") else "RGB")
    if mode in ("RGBA", "LA"):
        picture = picture.convert(mode)
        picture.putalpha(grey.point(lambda value: max(0, min(255, 3 * (170 - value)))))
    options = {"exif": _make_and_orientation(orientation)}
    if mode not in ("RGBA", "LA"):
        options["transparency"] = bytes(range(0, 256, 5)) if mode == "P" else picture.getpixel((9, 9))
    data = encoded(picture, "PNG", **options)
    expected = on_white(data)
    assert expected.tobytes() != picture.convert("RGB").tobytes()
    if orientation > 1:
        turn = {6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE}
        expected = expected.transpose(turn[orientation])
    decoded = decode(data).image
    assert decoded.mode == "RGB" and decoded.size == expected.size and decoded.tobytes() == expected.tobytes()
    assert mode in ("1", "RGB") or "transparency" not in decoded.info


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(image_format):
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    decoded = np.asarray(decode(encoded(Image.fromarray(ramp), image_format)).image)
    assert decoded[0, 0, 0] == 0
    assert decoded[-1, -1, 0] == 255
    assert decoded[32, 0, 0] == pytest.approx(ramp[32, 0] / 257, abs=1)


def test_16_bit_rgb_png():
    row = b"\0" + struct.pack(">3H", 0xFFFF, 0x8000, 0x0000) * 40
    assert decode(_png(40, 40, bit_depth=16, rows=row * 40)).image.getpixel((7, 7)) == pytest.approx(
        (255, 128, 0), abs=1
    )


def test_float_tiff():
    ramp = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    assert np.asarray(decode(encoded(Image.fromarray(ramp), "TIFF")).image).max() == 255


@pytest.mark.parametrize(
    ("top", "signed"), [(255, False), (65535, False), (2**32 - 1, False), (255, True), (65535, True), (2**31 - 1, True)]
)
def test_32_bit_grey_counts_as_the_least_bits_that_hold_it(top, signed):
    ramp = np.linspace(0, top, 64 * 64).reshape(64, 64).astype(np.uint32)
    decoded = np.asarray(decode(_tiff(ramp, signed)).image)[..., 0]
    assert np.abs(decoded.astype(int) - np.floor(ramp / top * 255)).max() <= 1


def test_the_uint32_grey_of_the_cases():
    file = ROOT / "tests" / "data" / "cases" / "uint32_grey.tif"
    raw = np.asarray(Image.open(file)).view(np.uint32)
    decoded = np.asarray(decode(file.read_bytes()).image)[..., 0]
    assert len(np.unique(decoded)) > 2
    assert np.abs(decoded.astype(int) - (raw >> 24).astype(int)).max() <= 1


def test_negative_grey_is_black():
    ramp = np.linspace(-1000, 255, 64 * 64).reshape(64, 64).astype(np.int32)
    decoded = np.asarray(decode(_tiff(ramp.view(np.uint32), signed=True)).image)[..., 0]
    assert (decoded == ramp.clip(0)).all()


def _tiff(grey: np.ndarray, signed: bool) -> bytes:
    """A TIFF of 32-bit grey; Pillow writes its numbers as signed ones, and says so in the tag 339."""
    data = encoded(Image.fromarray(grey.view(np.int32)), "TIFF")
    entry = struct.pack("<HHI", 339, 3, 1)
    assert data.count(entry) == 1
    at = data.index(entry) + len(entry)
    return data[:at] + struct.pack("<H", 2 if signed else 1) + data[at + 2 :]


_PROFILES = {
    "none": None,
    "sRGB": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    "LAB": ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(),
    "of no use": b"no profile at all",
}


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_colour_profiles_are_not_applied(photo, mode, image_format):
    """The stored values are what is tested for traces, and what the models were trained on."""
    if mode != "RGB" and image_format in ("WEBP", "AVIF") or (mode, image_format) == ("CMYK", "PNG"):
        pytest.skip(f"{image_format} has no {mode}")
    seen = {
        name: decode(encoded(photo.convert(mode), image_format, icc_profile=profile)).image.tobytes()
        for name, profile in _PROFILES.items()
    }
    assert len(set(seen.values())) == 1


def test_cmyk_is_converted_by_pillows_formula(photo):
    cmyk = photo.convert("CMYK")
    data = encoded(cmyk, "TIFF", icc_profile=_PROFILES["sRGB"])
    assert decode(data).image.tobytes() == cmyk.convert("RGB").tobytes()


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "TIFF", "PNG"])
def test_first_frame_of_several(image_format):
    frames = [Image.new("RGB", (48, 48), colour) for colour in ("red", "lime")]
    data = encoded(frames[0], image_format, save_all=True, append_images=frames[1:])
    red, green, _ = decode(data).image.getpixel((9, 9))
    assert red > 200 > 60 > green


def test_a_camera_jpeg_with_further_pictures_is_a_jpeg(photo):
    decoded = decode(encoded(photo, "MPO", save_all=True, append_images=[photo.resize((64, 48))]))
    assert decoded.format == "JPEG" and decoded.image.size == photo.size


def test_heic():
    decoded = decode(HEIC.read_bytes())
    assert decoded.format == "HEIF"
    assert decoded.image.size == (128, 96)
    left, right = decoded.image.getpixel((8, 48))[0], decoded.image.getpixel((120, 48))[0]
    assert right > left + 150  # red grows from left to right in that picture


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    upright = Image.new("RGB", (96, 64), "blue")
    upright.paste("yellow", (0, 0, 32, 32))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode(encoded(stored, "JPEG", quality=95, exif=exif)).image
    assert decoded.size == (96, 64)
    assert decoded.getpixel((8, 8))[0] > 200 and decoded.getpixel((80, 50))[2] > 200


_XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>"""


def _xmp_text() -> PngInfo:
    texts = PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", _XMP.decode())
    return texts


def _make_and_orientation(orientation: int | None) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = "A maker"
    if orientation:
        exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("exif", [None, _make_and_orientation(None)])
@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("JPEG", {"xmp": _XMP}), ("PNG", {"pnginfo": _xmp_text()}), ("WEBP", {"xmp": _XMP}), ("AVIF", {"xmp": _XMP}),
        ("TIFF", {"tiffinfo": {700: _XMP}}),
    ],
)  # fmt: skip
def test_an_orientation_in_xmp_alone_turns_nothing(photo, image_format, options, exif):
    """Browsers show such a picture as it is stored, and boxes must fit what they show."""
    if exif is not None and image_format != "TIFF":
        options = options | {"exif": exif}
    decoded = decode(encoded(photo, image_format, **options), 100)
    assert decoded.size == photo.size
    assert decoded.image.size[0] > decoded.image.size[1]
    assert decoded.exif.get(0x0112, 1) == 1


@pytest.mark.parametrize("orientation", [3, 6])
def test_an_orientation_in_exif_wins_over_xmp(photo, orientation):
    data = encoded(photo, "PNG", pnginfo=_xmp_text(), exif=_make_and_orientation(orientation))
    assert decode(data).size == (photo.size if orientation == 3 else photo.size[::-1])


def error_code(data: bytes) -> str:
    with pytest.raises(RequestError) as caught:
        decode(data)
    assert caught.value.message
    return caught.value.code


def test_empty():
    assert error_code(b"") == "empty_body"


@pytest.mark.parametrize("data", [b"hello world", b"<a><b/></a>", b"\0" * 999, b"RIFF\0\0\0\0WAVX" + bytes(99)])
def test_not_a_picture(data):
    assert error_code(data) == "unknown_format"


def test_a_format_without_a_signature_is_unknown(photo):
    assert error_code(encoded(photo.resize((64, 64)), "PCX")) == "unknown_format"


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"])
def test_truncated(photo, image_format):
    data = encoded(photo, image_format)
    assert error_code(data[: len(data) // 2]) in ("broken_picture", "unknown_format")


def test_too_many_bytes():
    assert error_code(b"\xff" * (limits.MAX_BYTES + 1)) == "too_many_bytes"


def test_too_small():
    assert error_code(encoded(Image.new("RGB", (500, 8)), "PNG")) == "too_small"


def test_pixels_are_counted_in_the_header(monkeypatch):
    """A file of a hundred bytes that claims 10 gigapixels is refused before a byte of it is decoded."""
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    assert error_code(_png(100_000, 100_000, bit_depth=8, rows=b"")) == "too_many_pixels"


def test_pixels_just_over_the_limit():
    side = int(limits.MAX_PIXELS**0.5) + 1
    assert error_code(_png(side, side, bit_depth=8, rows=b"")) == "too_many_pixels"


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutated_files_never_raise_anything_else(data):
    image = Image.new("RGB", (48, 40), (200, 30, 90))
    image_format = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"]))
    content = bytearray(encoded(image, image_format))
    for position, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), min_size=1, max_size=8)
    ):
        content[position] = value
    try:
        assert decode(bytes(content)).image.mode == "RGB"
    except RequestError as error:
        assert error.code in (
            "broken_picture", "unknown_format", "unsupported_format", "too_many_pixels", "too_small",
        )  # fmt: skip


def _png(width: int, height: int, bit_depth: int, rows: bytes) -> bytes:
    """An RGB PNG written by hand, so that header and content may disagree."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, bit_depth, 2, 0, 0, 0)
    buffer = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    buffer.seek(0, io.SEEK_END)
    for kind, content in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        buffer.write(chunk(kind, content))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("size", "needed", "scale"),
    [
        ((640, 480), 300, 1), ((1024, 768), 300, 2), ((768, 1024), 300, 2), ((4000, 3000), 300, 8),
        ((1024, 768), None, 1), ((599, 599), 300, 1), ((600, 600), 300, 2), ((3000, 601), 300, 2),
    ],
)  # fmt: skip
def test_a_large_jpeg_is_decoded_at_a_part_of_its_size(photo, size, needed, scale):
    """What is left is enough, and everything that is said of the file is said of its full size."""
    data = encoded(photo.resize(size), "JPEG", quality=90)
    decoded = decode(data, needed)
    assert decoded.size == size
    assert decoded.image.size == tuple(-(-side // scale) for side in size)
    assert not needed or min(decoded.image.size) >= min(needed, *size)
    assert colour_error(decoded.image.resize((320, 240)), photo) < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_part_of_the_size_is_turned_upright_too(photo, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photo.resize((1280, 960)), "JPEG", exif=exif)
    whole, part = decode(data), decode(data, 300)
    assert part.size == whole.size == whole.image.size
    assert part.image.size == tuple(side // 2 for side in whole.size)
    assert colour_error(part.image, whole.image.resize(part.image.size)) < 4


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "TIFF"])
def test_other_formats_are_decoded_whole(photo, image_format):
    assert decode(encoded(photo.resize((1280, 960)), image_format), 300).image.size == (1280, 960)


_GROWTH = r"""
import re, sys
from imagetrust.images.decode import decode
from imagetrust.errors import RequestError
data = open(sys.argv[1], "rb").read()
def memory(name):
    return int(re.search(name + r":\s+(\d+)", open("/proc/self/status").read())[1]) * 1024 / 1e6
before = memory("VmRSS")
try:
    image = decode(data, 300).image
    colour = "%d,%d,%d" % image.getpixel((9, 9)) if image.mode == "RGB" else image.mode
except RequestError as error:
    colour = error.code
print(memory("VmHWM") - before, colour)
"""
_TURNED = Image.Exif()
_TURNED[0x0112] = 6
_BIG, _COPIED = 8000, 6500  # 64 megapixels; as many as fit where decoding takes a second copy


@pytest.mark.parametrize(
    ("mode", "colour", "image_format", "side", "options", "expected"),
    [
        ("RGB", (200, 100, 50), "PNG", _BIG, {}, "200,100,50"),
        ("RGBA", (200, 100, 50, 128), "PNG", _BIG, {}, "227,177,152"),
        ("LA", (100, 128), "PNG", _BIG, {}, "177,177,177"),
        ("L", 77, "PNG", _BIG, {"exif": _TURNED}, "77,77,77"),
        ("1", 1, "PNG", _BIG, {}, "255,255,255"),
        ("I;16", 30000, "PNG", _BIG, {"exif": _TURNED}, "116,116,116"),
        ("P", 1, "PNG", _BIG, {"transparency": 1}, "255,255,255"),
        ("P", 1, "GIF", _BIG, {"transparency": 1}, "255,255,255"),
        ("RGB", (5, 6, 7), "PNG", _BIG, {"transparency": (5, 6, 7)}, "255,255,255"),
        ("RGBA", (200, 100, 50, 128), "TIFF", _BIG, {"compression": "tiff_lzw"}, "227,177,152"),
        ("LA", (100, 128), "TIFF", _BIG, {"compression": "tiff_lzw"}, "177,177,177"),
        ("I", 30000, "TIFF", _BIG, {"compression": "tiff_lzw"}, "116,116,116"),
        ("F", 0.4, "TIFF", _BIG, {"compression": "tiff_lzw"}, "102,102,102"),
        ("1", 1, "BMP", _BIG, {}, "255,255,255"),
        ("CMYK", (10, 20, 30, 40), "JPEG", _BIG, {}, "207,198,190"),
        ("RGB", (200, 100, 50), "JPEG", _BIG, {"progressive": True, "exif": _TURNED}, "200,100,50"),
        ("RGB", (200, 100, 50), "PNG", _COPIED, {"exif": _TURNED}, "200,100,50"),
        ("RGBA", (200, 100, 50, 128), "WEBP", 6300, {"lossless": True, "method": 0}, "227,177,152"),
        ("RGB", (200, 100, 50), "WEBP", 6300, {"lossless": True, "exif": _TURNED}, "200,100,50"),
        ("CMYK", (10, 20, 30, 40), "TIFF", _COPIED, {"compression": "tiff_lzw"}, "207,198,190"),
        ("RGB", (200, 100, 50), "TIFF", 6900, {"compression": "tiff_lzw", "tiffinfo": {278: 6900}}, "too_many_pixels"),
        ("RGB", (200, 100, 50), "TIFF", _COPIED, {"compression": "tiff_lzw", "tiffinfo": {278: 6500}}, "200,100,50"),
        ("RGBA", (200, 100, 50, 128), "AVIF", 5400, {"speed": 10}, "227,177,152"),
        # What would take more is refused.
        ("RGBA", (200, 100, 50, 128), "WEBP", _BIG, {"lossless": True, "method": 0}, "too_many_pixels"),
        ("RGB", (200, 100, 50), "TIFF", _BIG, {"compression": "tiff_lzw", "tiffinfo": {274: 6}}, "too_many_pixels"),
        ("CMYK", (10, 20, 30, 40), "JPEG", _BIG, {"progressive": True}, "too_many_pixels"),
    ],
)  # fmt: skip
def test_the_memory_of_every_kind_of_picture_is_bounded(tmp_path, mode, colour, image_format, side, options, expected):
    """A small file of the most pixels allowed, decoded in a process of its own."""
    picture = Image.new(mode, (side, side), colour)
    if mode == "P":
        picture.putpalette([1, 2, 3, 200, 100, 50])
    file = tmp_path / "file"
    picture.save(file, image_format, **options)
    done = subprocess.run([sys.executable, "-c", _GROWTH, str(file)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    grown, seen = done.stdout.split()
    assert seen == expected
    assert float(grown) < 350, f"{float(grown):.0f} MB"


def test_an_animated_webp_is_bounded_and_shows_its_first_frame(tmp_path):
    first, second = (Image.new("RGBA", (4500, 4500), colour) for colour in ((200, 100, 50, 128), (1, 2, 3, 255)))
    file = tmp_path / "file"
    first.save(file, "WEBP", save_all=True, append_images=[second], lossless=True, method=0)
    done = subprocess.run([sys.executable, "-c", _GROWTH, str(file)], cwd=ROOT, capture_output=True, text=True)
    grown, seen = done.stdout.split()
    assert seen == "227,177,152" and float(grown) < 350


@pytest.mark.parametrize(
    ("image_format", "options"),
    [("JPEG", {"progressive": True}), ("JPEG", {}), ("GIF", {}), ("PNG", {"pnginfo": PngInfo()})],
)
def test_the_memory_of_damaged_files_is_bounded_alike(tmp_path, image_format, options):
    """A JPEG without its end marker is decoded twice, a partial GIF is painted, a PNG is read past its bad chunk."""
    picture = Image.new(
        "P" if image_format == "GIF" else "RGB", (_BIG, 7990), 1 if image_format == "GIF" else (200, 100, 50)
    )
    if image_format == "GIF":
        picture.putpalette([1, 2, 3, 200, 100, 50])
    data = encoded(picture, image_format, **options)
    if image_format == "JPEG":
        data = data[:-2]
    elif image_format == "GIF":
        data = data[:8] + struct.pack("<H", _BIG) + data[10:]
    else:
        data = data.replace(b"\0\0\0\0IEND", b"\0\0\0\1prVtx\0\0\0\0" + b"\0\0\0\0IEND")
    (tmp_path / "file").write_bytes(data)
    done = subprocess.run([sys.executable, "-c", _GROWTH, tmp_path / "file"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    grown, seen = done.stdout.split()
    assert seen == "200,100,50" and float(grown) < 350, f"{float(grown):.0f} MB"


def test_a_jpeg_whose_components_come_one_by_one_is_counted_as_progressive(photo):
    """libjpeg keeps the coefficients of both until the last scan."""
    data = encoded(photo, "JPEG", subsampling=0)
    with Image.open(io.BytesIO(data)) as interleaved:
        assert decoding_bytes(interleaved, data, photo.size, False) == 4 * 320 * 240
    scan = data.rindex(b"\xff\xda")
    one_by_one = data[:scan] + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" + data[scan + 14 :]
    with Image.open(io.BytesIO(one_by_one)) as opened:
        assert decoding_bytes(opened, one_by_one, photo.size, False) == (4 + 2 * 3) * 320 * 240


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("options", [{"quality": 40}, {"lossless": True}, {"quality": 95, "exact": True}])
def test_a_still_webp_is_what_pillow_decodes(photo, mode, options):
    picture = photo.convert(mode)
    if mode == "RGBA":
        picture.putalpha(photo.convert("L"))
    data = encoded(picture, "WEBP", **options)
    expected = Image.open(io.BytesIO(data))
    if mode == "RGBA":
        expected = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), expected)
    assert np.array_equal(np.asarray(decode(data).image), np.asarray(expected.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_memory_of_a_webp_lives_as_long_as_its_picture(photo, mode):
    """Its pixels are OpenCV's, shared and not copied."""
    data = encoded(photo.resize((1100, 700)).convert(mode), "WEBP", lossless=True)
    images = [decode(data).image for _ in range(3)]
    expected = on_white(data).tobytes()
    assert images.pop().tobytes() == expected
    gc.collect()
    others = [np.full((700, 1100, 4), 7, np.uint8) for _ in range(6)]
    assert [image.tobytes() == expected for image in images] == [True, True] and len(others) == 6
    images[0].paste("black", (0, 0, 1100, 700))
    assert images[1].tobytes() == expected


def test_fifty_megapixels_stay_bounded(photo, tmp_path):
    """One picture of 50 megapixels in a process of its own: seconds and megabytes, beside what importing takes."""
    program = r"""
import re, sys, time
from PIL import Image
from imagetrust.images.decode import decode
data = open(sys.argv[1], "rb").read()
def peak():
    return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) * 1024 / 1e6
before, started = peak(), time.process_time()
decode(data, 300)
print(time.process_time() - started, peak() - before)
"""
    smooth = photo.resize((8400, 6000), Image.Resampling.BICUBIC)
    coarse = photo.resize((8400, 6000), Image.Resampling.NEAREST)  # as a PNG the other would exceed the bytes allowed
    # A decoded pixel has 3 or 4 bytes: 200 MB. A progressive JPEG keeps its coefficients, two bytes each, besides.
    for name, picture, options, seconds, megabytes in (
        ("baseline.jpg", smooth, {"quality": 90}, 4, 60),
        ("progressive.jpg", smooth, {"quality": 90, "progressive": True}, 12, 350),
        ("whole.png", coarse, {"compress_level": 6}, 8, 350),
    ):
        picture.save(tmp_path / name, **options)
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / name)], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        took, grew = map(float, done.stdout.split())
        assert took < seconds and grew < megabytes, f"{name}: {took:.1f} s, {grew:.0f} MB"
