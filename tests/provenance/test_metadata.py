"""EXIF, XMP, IPTC, ICC, texts, quantisation tables, thumbnails and sizes, each with and without."""

import numpy as np
import pytest
from PIL import Image, JpegPresets
from PIL.TiffImagePlugin import IFDRational

from imagetrust.provenance.quantisation import ijg_quality
from tests.procedural import encoded
from tests.provenance.checks import check
from tests.provenance.files import (
    COMPOSITE,
    TRAINED,
    append_thumbnail,
    colour_profile,
    finding,
    phone_photo,
    png_with_text,
    read,
    small_photo,
    sources,
    user_comment,
    with_exif,
    with_iptc,
    with_xmp,
)


def found_in(data: bytes, source: str, **options) -> dict:
    declared = read(data, **options)
    check(declared)
    return finding(declared, source)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_a_bare_file_declares_nothing(image_format):
    assert read(encoded(small_photo(), image_format)) == {"findings": [], "unreadable": []}


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_exif_in_every_format(image_format):
    data = with_exif({0x010F: "Example", 0x0110: "One"}, {0xA434: "35mm"}, image_format=image_format)
    found = found_in(data, "exif")
    assert found["says"] == "camera"
    assert found["values"]["maker"] == "Example"
    assert found["values"]["lens"] == "35mm"
    assert found["values"]["tags"]["photo"] == {"LensModel": "35mm"}


def test_phone_photo_keeps_its_place_to_itself():
    data = phone_photo()
    values = found_in(data, "exif")["values"]
    assert values["taken"] == "2025:05:04 10:11:12"
    assert values["maker_note_bytes"] == 17
    assert "gps" not in str(values).lower() and "43" not in str(values)


def test_place_is_told_when_asked_for():
    gps = found_in(phone_photo(), "exif", include_places=True)["values"]["gps"]
    assert (gps["latitude"], gps["longitude"], gps["altitude"]) == (43.467447, -11.885128, 120.5)
    assert gps["tags"]["GPSLatitudeRef"] == "N"


def test_gps_of_no_sense_is_no_position():
    exif = Image.Exif()
    exif[0x8825] = {1: "N", 2: (IFDRational(1, 0), IFDRational(0, 0), 1.0), 5: b"\1", 6: IFDRational(5, 0)}
    data = encoded(small_photo(), "PNG", exif=exif)
    gps = found_in(data, "exif", include_places=True)["values"]["gps"]
    assert "latitude" not in gps and "altitude" not in gps


@pytest.mark.parametrize(
    ("tags", "says"),
    [
        ({0x0131: "Adobe Photoshop 26"}, "software"),
        ({0x0131: "Adobe Firefly"}, "generated"),
        ({0x013B: "Midjourney"}, "generated"),
        ({0x0110: "Midjourneyman 3"}, "camera"),  # a generator's name within a word is not its name
        ({0x0131: "Editor de imagen"}, "software"),
        ({0x8298: "(c) someone"}, "nothing"),
    ],
)
def test_what_exif_says(tags, says):
    assert found_in(with_exif(tags), "exif")["says"] == says


@pytest.mark.parametrize("order", ["utf-16-be", "utf-16-le"])
def test_user_comment_in_either_byte_order(order):
    data = with_exif({}, {0x9286: user_comment("naïve 漢字 text", order)})
    assert found_in(data, "exif")["values"]["tags"]["photo"]["UserComment"] == "naïve 漢字 text"


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(("source_type", "says"), [(TRAINED, "generated"), (COMPOSITE, "edited_with_ai")])
def test_xmp_source_type(image_format, source_type, says):
    data = with_xmp(f"<Iptc4xmpExt:DigitalSourceType>{source_type}</Iptc4xmpExt:DigitalSourceType>", image_format)
    found = found_in(data, "xmp")
    assert (found["says"], found["strength"]) == (says, "unsigned")
    assert found["values"]["source_types"] == [source_type.rpartition("/")[2]]


@pytest.mark.parametrize(
    ("properties", "says"),
    [
        ("<xmp:CreatorTool>Adobe Photoshop 26</xmp:CreatorTool>", "software"),
        ("<xmp:CreatorTool>Draw Things</xmp:CreatorTool>", "generated"),
        ("<photoshop:Credit>Made with Google AI</photoshop:Credit>", "generated"),
        ("<Iptc4xmpExt:AISystemUsed>New Service</Iptc4xmpExt:AISystemUsed>", "generated"),
        ("<dc:creator><rdf:Seq><rdf:li>A. Person</rdf:li></rdf:Seq></dc:creator>", "nothing"),
        ("<Iptc4xmpExt:DigitalSourceType>unheardOf</Iptc4xmpExt:DigitalSourceType>", "nothing"),
        ('<Iptc4xmpExt:DigitalSourceType rdf:resource="http://x/digitalCapture"/>', "camera"),
    ],
)
def test_what_xmp_says(properties, says):
    assert found_in(with_xmp(properties), "xmp")["says"] == says


def test_xmp_history():
    history = "<xmpMM:History><rdf:Seq>" + "".join(
        f'<rdf:li stEvt:action="saved" stEvt:softwareAgent="{agent}"/>' for agent in ("One", "Two", "One")
    )
    found = found_in(with_xmp(f"{history}</rdf:Seq></xmpMM:History>"), "xmp")
    assert found["values"]["programs"] == ["One", "Two"]
    assert found["values"]["properties"]["xmpMM:History/stEvt:action"] == ["saved"] * 3


def test_xmp_place_is_told_only_when_asked_for():
    data = with_xmp("<exif:GPSLatitude>43,28.04N</exif:GPSLatitude><photoshop:City>Arezzo</photoshop:City>")
    assert sources(read(data)) == ["jpeg_quantisation"]
    told = found_in(data, "xmp", include_places=True)["values"]["properties"]
    assert told == {"exif:GPSLatitude": "43,28.04N", "photoshop:City": "Arezzo"}


@pytest.mark.parametrize("content", ["<a", "\x01", "<a></b>", "plain"])
def test_broken_xmp_is_noted(content):
    declared = read(encoded(small_photo(), "JPEG", xmp=content.encode()))
    check(declared)
    assert [note["source"] for note in declared["unreadable"]] == ["xmp"]


def test_iptc():
    fields = {25: b"one", 65: b"Example Pro", 90: b"Arezzo", 110: "Büro".encode(), 120: b"Caf\xe9"}
    found = found_in(with_iptc(fields), "iptc")
    assert found["says"] == "software"
    assert found["values"] == {"keywords": "one", "program": "Example Pro", "credit": "Büro", "caption": "Café"}
    assert found_in(with_iptc(fields), "iptc", include_places=True)["values"]["city"] == "Arezzo"
    assert found_in(with_iptc({110: b"Made with Google AI"}), "iptc")["says"] == "generated"


def test_colour_profile():
    found = found_in(encoded(small_photo(), "PNG", icc_profile=colour_profile()), "icc")
    assert "sRGB" in found["values"]["description"]


def test_broken_colour_profile_is_noted():
    declared = read(encoded(small_photo(), "PNG", icc_profile=b"\0" * 200))
    assert [note["source"] for note in declared["unreadable"]] == ["icc"]


def test_png_texts():
    found = found_in(png_with_text({"Software": "Example", "Title": "A <b>title</b>\nof two lines"}), "png_text")
    assert found["says"] == "software"
    assert found["values"] == {"Software": "Example", "Title": "A ‹b›title‹/b› of two lines"}


def test_png_text_after_the_pixels():
    data = png_with_text({"Title": "late"})
    start = data.index(b"iTXt") - 4
    chunk = data[start : start + 12 + int.from_bytes(data[start : start + 4], "big")]
    moved = data.replace(chunk, b"")
    assert found_in(moved[:-12] + chunk + moved[-12:], "png_text")["values"] == {"Title": "late"}


@pytest.mark.parametrize(
    ("image_format", "comment", "says"),
    [
        ("JPEG", "CREATOR: gd-jpeg v1.0 (using IJG JPEG v62), quality = 90", "software"),
        ("JPEG", "a day at the sea", "nothing"),
        ("GIF", "Created with GIMP", "software"),
    ],
)
def test_comments(image_format, comment, says):
    found = found_in(encoded(small_photo(), image_format, comment=comment), "jpeg_comment")
    assert (found["says"], found["values"]) == (says, {"comments": [comment]})


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 51, 75, 90, 95, 100])
def test_quality_of_libjpeg(quality):
    values = found_in(encoded(small_photo(), "JPEG", quality=quality), "jpeg_quantisation")["values"]
    assert (values["ijg_quality"], values["ijg_exact"]) == (quality, True)
    assert values["matches"] == [f"libjpeg or a library that follows it, quality {quality}"]


@pytest.mark.parametrize("preset", sorted(JpegPresets.presets))
def test_photoshop_settings(preset):
    values = found_in(encoded(small_photo(), "JPEG", quality=preset), "jpeg_quantisation")["values"]
    assert f"Photoshop, {preset.replace('_', ' ')}" in values["matches"]


def test_other_tables_match_nothing():
    table = [3] * 64
    values = found_in(encoded(small_photo(), "JPEG", qtables=[table, table]), "jpeg_quantisation")["values"]
    assert not values["ijg_exact"] and "matches" not in values
    assert ijg_quality([np.array(table)])[0] > 90


def test_grey_jpeg_has_one_table():
    values = found_in(encoded(small_photo().convert("L"), "JPEG", quality=80), "jpeg_quantisation")["values"]
    assert (values["tables"], values["ijg_quality"], values["ijg_exact"]) == (1, 80, True)


def letterboxed(image: Image.Image) -> Image.Image:
    framed = Image.new("RGB", (80, 60))
    framed.paste(image.resize((80, 50)), (0, 5))
    return framed


@pytest.mark.parametrize(
    ("thumbnail", "same_shape", "same_content"),
    [
        (lambda photo: photo.resize((40, 30)), True, True),
        (lambda photo: photo.convert("L").resize((80, 60)), True, True),
        (lambda photo: photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((40, 30)), True, False),
        (lambda photo: small_photo(99).resize((40, 30)), True, False),
        (lambda photo: photo.resize((60, 30)), False, True),
        (lambda photo: Image.new("RGB", (40, 30), "grey"), True, True),  # nothing to compare: no accusation
    ],
)
def test_thumbnails(thumbnail, same_shape, same_content):
    values = found_in(phone_photo(thumbnail(small_photo())), "thumbnail")["values"]
    assert (values["same_shape"], values["same_content"]) == (same_shape, same_content)


def test_black_bars_of_a_camera_are_no_difference():
    exif = phone_photo(letterboxed(small_photo(3, 160, 100)))
    with_bars = encoded(small_photo(3, 160, 100), "JPEG", exif=exif_of(exif))
    values = found_in(with_bars, "thumbnail")["values"]
    assert (values["same_shape"], values["same_content"]) == (True, True)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_thumbnail_of_a_turned_photo(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    block = append_thumbnail(exif.tobytes(), encoded(small_photo().resize((40, 30)), "JPEG"))
    values = found_in(encoded(small_photo(), "JPEG", exif=block), "thumbnail")["values"]
    assert (values["same_shape"], values["same_content"]) == (True, True)


def exif_of(data: bytes) -> bytes:
    start = data.index(b"Exif\0\0")
    length = int.from_bytes(data[start - 2 : start], "big")
    return data[start : start - 2 + length]


@pytest.mark.parametrize(("size", "typical"), [((1024, 1024), True), ((832, 1216), True), ((1000, 1000), False)])
def test_sizes_of_generators_say_nothing_by_themselves(size, typical):
    declared = read(encoded(Image.new("RGB", size, "grey"), "PNG"))
    check(declared)
    assert ("dimensions" in sources(declared)) == typical
    if typical:
        assert finding(declared, "dimensions")["says"] == "nothing"
