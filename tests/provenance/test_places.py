"""Where a picture was taken is told only when asked for, whichever field and dialect states it."""

import base64
import json
import time
from pathlib import Path

import pytest

from imagetrust.provenance.bounds import MAX_TEXT
from imagetrust.provenance.finding import Finding
from imagetrust.provenance.places import WITHHELD, mask_places, names_place, withhold_places
from tests.procedural import encoded
from tests.provenance.checks import check
from tests.provenance.files import (
    CAPTURE,
    exif_tiff,
    finding,
    gif_with_xmp,
    phone_photo,
    png_with_text,
    raw_profile,
    read,
    samsung_trailer,
    signed,
    small_photo,
    sources,
    user_comment,
    with_exif,
    with_iptc,
    with_segments,
    with_xmp,
    xmp_packet,
)

CASES = Path(__file__).parents[1] / "data" / "cases"

# How files state 12.345678 N, 98.765432 E.
POSITIONS = [
    "12.345678, 98.765432",
    "98.765432,12.345678,0",
    "12.345678 98.765432",
    "12.3456/98.7654",
    "-12.345,-98.765",
    "12.345678°, 98.765432°",
    "12.345678° N 98.765432° E",
    "12.3456 N, 98.7654 E",
    "N12.3456 E98.7654",
    "N 12° 20.741 E 098° 45.926",
    "N 12 20.741 E 98 45.926",
    "12 deg 20' 44.44\" N",
    "12 deg 20' 44.44\"",
    "12°20′44″N 98°45′56″E",
    "12,20.741N",
    "12,20,44N",
    "12/1, 20/1, 4444/100",
    "12, 20, 4444/100",
    "+12.3457+098.7654/",
    "+1220.74-09845.93+10CRSWGS_84/",
    "+12.3457+098.7654",
    "geo:12.345678,98.765432;u=35",
    "$GPGGA,123519,1220.741,N,09845.926,E,1,08,0.9,545.4,M,46.9,M,,*47",
    "1220.741,N,09845.926,E",
    "https://maps.example/?q=12.345678,98.765432&z=17",
    "https://maps.example/@12.345678,98.765432,17z",
    "0.0, 0.0, 0.0, 98.765432, 12.345678, 0.0",
    "lat: 12.34, lng: 98.76",
    "lat 12.345 lon 98.765",
    "GPS Latitude = 12.34",
    '{"gps": {"latitude": 12.34, "longitude": 98.76}}',
    "\niptc\n   30\n3842494d0404000000000011",
    "POINT(98.765 12.345)",
    "SRID=4326;POINT Z (98.765 12.345 5)",
    "33T 500345 4649765",
    "33TWN0034549765",
    "8FVC9G8F+345".replace("345", "6X5"),
    "12.345678N98.765432E",
    "12:20:44.44N",
    "12,345678; 98,765432",
    "(12.345678)(98.765432)",
    "12.345678%2C98.765432",
    "12.345678_98.765432",
    "12.345678-98.765432",
    "lat12.345678lon98.765432",
    "https://maps.example/?ll=12.345,98.765",
    "https://maps.example/maps/place/Example+345/@12.345,98.765,12z",
    "loc:12.345+98.765",
    b"lat: 12.345678, lon: 98.765432".hex(),
    base64.b64encode(b'{"latitude": 12.345678, "longitude": 98.765432}').decode(),
    base64.urlsafe_b64encode(b"??>>??>> geo:12.345678,98.765432").decode(),
    base64.encodebytes(b"x" * 100 + b" geo:12.345678,98.765432 " + b"x" * 100).decode(),
    base64.b64encode(b"\xff\xd8\xff\xe1\0\x80Exif\0\0II*\0\x08\0\0\0" + b"\1" * 90).decode(),
    b"8BIM\x04\x04\0\0\0\0\0\x11\x1c\x02\x5a\0\x0cExample Town".hex(),
]
DIGITS = ("345", "765", "20.74", "45.9", "44", "3842", ".34", ".76")
NAMES = [
    "exif:GPSLatitude",
    "other:GpsLongtitude",
    "drone-dji:AbsoluteAltitude",
    "GPS Position",
    "Location",
    "location_code",
    "Iptc4xmpExt:LocationCreated/Iptc4xmpExt:Sublocation",
    "Iptc4xmpCore:CiAdrCity",
    "photoshop:State",
    "Iptc4xmpExt:ProvinceState",
    "Country-PrimaryLocationName",
    "xmpDM:shotLocation",
    "geo:lat",
    "geo:long",
    "dwc:decimalLatitude",
    "City",
    "IPTC:2:90",
    "Address",
    "GeoTag",
    "ModelTiepointTag",
    "0x8482",
    "33922",
    "Raw profile type exif",
    "Raw profile type APP1",
    "drone-dji:LRFTargetLon",
    "drone-dji:LRFTargetAbsAlt",
    "drone-dji:RelativeAltitude",
    "Camera:AboveGroundAltitude",
    "autel:HomePointLon",
    "drone-skydio:PositionLLA",
    "latlon",
    "GeoPosition",
    "PlaceName",
    "GDAL_METADATA",
    "BodySerialNumber",
    "aux:LensSerialNumber",
    "drone-dji:DroneSerialNumber",
]
ORDINARY_NAMES = [
    "Software",
    "XResolution",
    "exif:ISOSpeedLatitudeyyy",
    "SubjectLocation",
    "CameraElevationAngle",
    "Opacity",
    "velocity",
    "YCbCrPositioning",
    "RelatedImageWidth",
    "allocation",
    "drone-dji:GimbalYawDegree",
    "Raw profile type icc",
    "0x9c9b",
    "50706",
    "parameters",
    "Copyright",
    "Iptc4xmpCore:AltTextAccessibility",
    "revenue",
    "salon",
    "serialisation",
]
ORDINARY_TEXTS = [
    "1024, 768",
    "832 1216",
    "72, 72",
    "72.000, 72.000",
    "24, 70, 28/10, 28/10",
    "299/1000, 587/1000, 114/1000",
    "0.3127, 0.3290",
    "1.6514, -0.5123, -0.1391, -0.0412, 1.2034, -0.1622",
    "f/2.8, 1/250 s, ISO 100",
    "1.4.2, 2.10.1",
    "Adobe Photoshop 26.1.0 (20241120.r.45) Windows",
    "2025:05:04 10:11:12",
    "2025-05-04T10:11:12.345+02:00",
    "Steps: 20, Sampler: Euler a, CFG scale: 7.5, Seed: 1234567890, Size: 512x512, Denoising strength: 0.55",
    "a city at night, (ruin, city:1.2), (fog:1.15), long: hair, <lora:street:0.8>",
    "a garden near the village, latitude of mood, 35mm, 45 degrees",
    "45° field of view, rotate 90 deg",
    '{"state": 3, "seed": 98765432, "size": [512, 768], "cfg": 7.25}',
    "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "+1-555-0100",
    "E = 5, N = 3",
    "01234567-89ab-cdef-0123-456789abcdef",
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
    "cfg=7.5,1.25; eta=0.5,0.75",
    "a pneumonoultramicroscopicsilicovolcanoconiosis of letters",
    base64.b64encode(b'{"steps": 20, "sampler": "Euler a", "seed": 1}').decode(),
    "10:20:44 ES, 1 234 567,89",
]


def whole(declared: dict) -> str:
    check(declared)
    return json.dumps(declared, ensure_ascii=False)


@pytest.mark.parametrize(
    ("name", "source", "stated"),
    [
        ("dji_position.jpg", "xmp", ["12.345678", "98.765432", "123.45"]),
        ("geotiff_position.tif", "exif", ["12.345678", "98.765432", "0.0001"]),
        ("raw_profile_iptc_city.png", "iptc", ["Example Town"]),
    ],
)
def test_cases(name, source, stated):
    data = (CASES / name).read_bytes()
    hidden, shown = whole(read(data)), read(data, include_places=True)
    assert not [value for value in [*stated, b"Example Town".hex()] if value in hidden]
    told = json.dumps(finding(shown, source))
    assert not [value for value in stated if value not in told]


@pytest.mark.parametrize("position", POSITIONS)
def test_a_position_is_known_by_its_shape(position):
    for text in (position, f"Taken at {position} with a friend"):
        masked = mask_places(text)
        assert WITHHELD in masked
        assert not any(digits in masked for digits in DIGITS)


@pytest.mark.parametrize("text", ORDINARY_TEXTS)
def test_ordinary_texts_stay_whole(text):
    assert mask_places(text) == text


def test_places_are_known_by_name():
    assert [name for name in NAMES if not names_place(name)] == []
    assert [name for name in ORDINARY_NAMES if names_place(name)] == []


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ('{"seed": 1, "location": "Example Town", "steps": 2}', "Example"),
        ('{"location": {"name": "Example Town", "at": {"x": 1}}, "steps": 2}', "Example"),
        ('{"address": ["Example Street", "Example', "Example"),
        ("<photoshop:City>Example Town</photoshop:City>", "Example"),
        ("<a:Location>\n <rdf:Bag><rdf:li>Example Town</rdf:li></rdf:Bag></a:Location>", "Example"),
        ("<rdf:Description photoshop:City='Example Town' tiff:Make='Cam'/>", "Example"),
        ("Title: sea\nLocation: Example Town, Example Country\nAuthor: me", "Example"),
        ("Steps: 20, Location: Example Town, Seed: 1, Sampler: Euler", "Example"),
        ('exif:GPSLatitude="12,20.7N"', "20.7"),
        ('{"steps": 2, "BodySerialNumber": "30079"}', "30079"),
    ],
)
def test_places_named_within_a_text(text, secret):
    masked = mask_places(text)
    assert secret not in masked and WITHHELD in masked
    for kept in ("steps", "Seed: 1", "Author: me", "Make='Cam'"):
        assert (kept in text) == (kept in masked)


POSITION = "12.345678, 98.765432"


@pytest.mark.parametrize(
    "make",
    [
        phone_photo,
        lambda: with_exif({0x010E: POSITION, 0x0131: "Example"}),
        lambda: with_exif({0x0110: f"Drone at {POSITION}"}),
        lambda: with_exif({0x010D: "x"}, {0x9286: user_comment(POSITION)}),
        lambda: with_exif({0xC5D8: (98.765432, 12.345678)}, image_format="TIFF"),
        lambda: with_xmp(f"<dc:description>{POSITION}</dc:description><xmp:CreatorTool>X</xmp:CreatorTool>"),
        lambda: with_xmp("<dc:x><rdf:Seq><rdf:li>12.345678</rdf:li><rdf:li>98.765432</rdf:li></rdf:Seq></dc:x>"),
        lambda: with_xmp("<exif:GPSLatitude>12,20.7N</exif:GPSLatitude><photoshop:City>Example Town</photoshop:City>"),
        lambda: with_iptc({90: b"Example Town", 120: POSITION.encode(), 65: b"Program"}),
        lambda: png_with_text({"exif:GPSLatitude": "12/1, 20/1, 4444/100", "Location": "Example Town", "Title": "x"}),
        lambda: png_with_text({"Comment": f"geo:{POSITION.replace(' ', '')}"}),
        lambda: png_with_text({"parameters": f"{POSITION}\nSteps: 20, Sampler: Euler a, Location: Example Town"}),
        lambda: encoded(small_photo(), "JPEG", comment=f"Created with GIMP at {POSITION}"),
        lambda: encoded(small_photo(), "GIF", comment='{"latitude": 12.345678, "city": "Example Town"}'),
        lambda: with_xmp(f"<dcterms:provenance>https://example.com/{POSITION.replace(' ', '')}</dcterms:provenance>"),
        lambda: signed(CAPTURE, source=phone_photo()),
        lambda: encoded(small_photo(), "JPEG", xmp=b"plain 12.345678"),
        lambda: encoded(small_photo(), "JPEG", xmp=b"<x:y><a:b>12.345678, 98.765432</a:b><c:GpsLatitude>12.345678"),
        lambda: gif_with_xmp(xmp_packet(f"<dc:description>{POSITION}</dc:description>")),
        lambda: with_segments([b"Exif\0\0" + exif_tiff({0x010E: (129, POSITION.encode())})]),
        lambda: png_with_text({"Raw profile type exif": raw_profile("exif", exif_tiff({0x8482: (2, b"98.765432")}))}),
        lambda: png_with_text({"Comment": base64.b64encode(b"Exif\0\0II*\0 Example Town").decode(), "Title": "x"}),
        lambda: phone_photo() + samsung_trailer({"MCC_Data": b"4444", "PhotoEditor_Re_Edit_Data": b'{"x": "20.7"}'}),
        lambda: signed(CAPTURE, assertions=({"label": "stds.exif", "data": {
            "@context": {"exif": "http://ns.adobe.com/exif/1.0/"}, "exif:GPSLatitude": "12,20.7N",
            "exif:GPSLongitude": "98.765432"}},)),
        lambda: signed(CAPTURE, assertions=({"label": "org.example.location", "data": {
            "name": "Example Town", "latitude": 12.345678}},)),
    ],
)  # fmt: skip
def test_nowhere_in_the_answer_unless_asked_for(make):
    data = make()
    hidden, shown = read(data), read(data, include_places=True)
    secrets = ("12.345678", "98.765432", "20.7", "4444", "Example Town", "43.46", "11.88", "120.5")
    assert not [secret for secret in secrets if secret in whole(hidden)]
    assert WITHHELD not in whole(shown)
    assert {one["source"]: one["says"] for one in hidden["findings"] if one["says"] != "nothing"} == {
        one["source"]: one["says"] for one in shown["findings"] if one["says"] != "nothing"
    }


@pytest.mark.parametrize(
    "make",
    [
        lambda: png_with_text({text: text for text in ("1024, 768", "Software", "Copyright")}),
        lambda: png_with_text({"parameters": "a city\nSteps: 20, Sampler: Euler a, CFG scale: 7.5, Size: 512x768"}),
        lambda: with_exif({0x010F: "Example", 0x011A: 72.0, 0x9214: (1024, 768)}, {0xA432: (24.0, 70.0, 2.8, 2.8)}),
        lambda: signed(CAPTURE),
    ],
)  # fmt: skip
def test_what_is_no_place_is_told_all_the_same(make):
    data = make()
    assert read(data) == read(data, include_places=True)


def test_a_finding_of_places_alone_is_left_out():
    data = png_with_text({"Location": "Example Town"})
    assert sources(read(data)) == []
    assert sources(read(data, include_places=True)) == ["png_text"]


def test_the_state_of_credentials_is_no_state_of_a_country():
    credentials = Finding("c2pa", "nothing", "x", {"state": "removed"})
    assert withhold_places([credentials]) == [credentials]
    assert withhold_places([Finding("iptc", "nothing", "x", {"state": "Example"})]) == []


def test_what_follows_a_shortened_beginning_is_still_cut_off():
    long = "geo:12.345678,98.765432 " * 400 + "end"
    masked = mask_places(long)
    assert len(masked) >= 4 * MAX_TEXT and "12.3" not in masked and "end" not in masked


@pytest.mark.parametrize(
    "unit",
    ["1.2345 ", '{"a":', '"a":{', "<a b ", "+12", "12 deg 3' ", "1,", "gps ", "a=", "\n", '"location":{', "N 1 ", " "],
)
def test_masking_takes_linear_time(unit):
    began = time.process_time()
    mask_places(unit * 100_000)
    assert time.process_time() - began < 0.25
