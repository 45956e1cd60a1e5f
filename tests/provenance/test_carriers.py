"""Declarations reach the answer from every place that carries them, damaged and unusual ones included."""

import json
import struct
import time
import zlib
from pathlib import Path

import pytest

from imagetrust.errors import RequestError
from imagetrust.images.decode import decode
from imagetrust.provenance import bounds, summarise
from imagetrust.provenance.items import xmp_items
from tests.procedural import encoded
from tests.provenance.checks import check
from tests.provenance.files import (
    CAPTURE,
    TRAINED,
    exif_tiff,
    extended_xmp,
    finding,
    gif_with_xmp,
    heic_with_xmp_items,
    phone_photo,
    png_chunk,
    png_with_chunks,
    png_with_text,
    raw_profile,
    read,
    samsung_trailer,
    signed,
    small_photo,
    sources,
    user_comment,
    with_segments,
    xmp_packet,
)

CASES = Path(__file__).parents[1] / "data" / "cases"
HEIC = Path(__file__).parents[1] / "data" / "gradient.heic"
JPEG_HEAD = b"http://ns.adobe.com/xap/1.0/\0"
PROPERTY = f"<Iptc4xmpExt:DigitalSourceType>{TRAINED}</Iptc4xmpExt:DigitalSourceType>"
PACKET = xmp_packet(PROPERTY)
INFOTEXT = "a lamp\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512"


def declared_in(data: bytes, **options) -> dict:
    declared = read(data, **options)
    check(declared)
    return declared


def in_jpeg(packet: bytes) -> bytes:
    return with_segments([JPEG_HEAD + packet])


XMP_CARRIERS = {
    "standard": lambda: in_jpeg(PACKET),
    "header without its zero": lambda: with_segments([JPEG_HEAD[:-1] + PACKET]),
    "no header": lambda: with_segments([PACKET]),
    "behind an empty one": lambda: with_segments([JPEG_HEAD + PACKET, JPEG_HEAD + xmp_packet("")]),
    "extended": lambda: with_segments(extended_xmp(PACKET), data=in_jpeg(naming(PACKET))),
    "extended, in pieces": lambda: with_segments(extended_xmp(PACKET, 5), data=in_jpeg(naming(PACKET))),
    "extended, backwards": lambda: with_segments(extended_xmp(PACKET, 5)[::-1], data=in_jpeg(naming(PACKET))),
    "EXIF tag 700": lambda: encoded(small_photo(), "JPEG", exif=b"Exif\0\0" + exif_tiff({700: (1, PACKET)})),
    "GIF": lambda: gif_with_xmp(PACKET),
    "GIF, in blocks": lambda: gif_with_xmp(PACKET, in_blocks=True),
    "PNG": lambda: png_with_chunks(png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + PACKET)),
    "PNG, at the end": lambda: png_with_chunks(
        png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + PACKET), at_end=True
    ),
    "PNG, packed": lambda: png_with_chunks(png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(PACKET))),
    "PNG tEXt": lambda: png_with_chunks(png_chunk(b"tEXt", b"XML:com.adobe.xmp\0" + PACKET)),
    "PNG profile": lambda: png_with_text({"Raw profile type xmp": raw_profile("xmp", PACKET)}),
    "PNG profile APP1": lambda: png_with_text({"Raw profile type APP1": raw_profile("app1", JPEG_HEAD + PACKET)}),
    "WebP": lambda: encoded(small_photo(), "WEBP", xmp=PACKET),
    "AVIF": lambda: encoded(small_photo(), "AVIF", xmp=PACKET),
    "AVIF, JPEG's header": lambda: encoded(small_photo(), "AVIF", xmp=JPEG_HEAD + PACKET),
    "TIFF": lambda: encoded(small_photo(), "TIFF", tiffinfo={700: PACKET}),
    "BigTIFF": lambda: encoded(small_photo(), "TIFF", tiffinfo={700: PACKET}, big_tiff=True),
}


def naming(packet: bytes) -> bytes:
    """A standard packet that names an extended one."""
    name = extended_xmp(packet)[0][35:67].decode()
    return xmp_packet(f'<xmpNote:HasExtendedXMP xmlns:xmpNote="http://ns.adobe.com/xmp/note/">{name}'
                      "</xmpNote:HasExtendedXMP>")  # fmt: skip


@pytest.mark.parametrize("name", XMP_CARRIERS)
def test_xmp_in_every_carrier(name):
    declared = declared_in(XMP_CARRIERS[name]())
    assert finding(declared, "xmp")["says"] == "generated"
    assert declared["unreadable"] == []


@pytest.mark.parametrize("packets", [[PACKET], [xmp_packet(""), PACKET], [PACKET, xmp_packet("")], [PACKET, PACKET]])
def test_xmp_items_of_a_heic(packets):
    declared = declared_in(heic_with_xmp_items(HEIC.read_bytes(), packets))
    found = finding(declared, "xmp")
    assert (found["says"], found["values"]["source_types"]) == ("generated", ["trainedAlgorithmicMedia"])
    assert declared["unreadable"] == []


def full_box(kind: bytes, version: int, content: bytes) -> bytes:
    return struct.pack(">I4sI", 12 + len(content), kind, version << 24) + content


def item_boxes(version: int, places: bytes, further: bytes = b"") -> bytes:
    """The content of a meta box with one XMP item, 7, that lies where places says."""
    wide = version == 2
    entry = struct.pack(">IH4s" if wide else ">HH4s", 7, 0, b"mime") + b"name\0application/rdf+xml\0\0"
    info = full_box(
        b"iinf", 1 if wide else 0, struct.pack(">I" if wide else ">H", 1) + full_box(b"infe", 3 if wide else 2, entry)
    )
    return b"\0\0\0\0" + info + full_box(b"iloc", version, places) + further


@pytest.mark.parametrize(
    ("version", "places", "further"),
    [
        (0, struct.pack(">BBHHHIHII", 0x44, 0x40, 1, 7, 0, 2, 1, 1, 6), b""),
        (0, struct.pack(">BBHHHHIIII", 0x44, 0x00, 1, 7, 0, 2, 3, 2, 5, 4), b""),
        (1, struct.pack(">BBHHHHHQQ", 0x88, 0x00, 1, 7, 0, 0, 1, 3, 6), b""),
        (1, struct.pack(">BBHHHHHI", 0x40, 0x00, 1, 7, 0, 0, 1, 3), b""),
        (1, struct.pack(">BBHHHHHII", 0x44, 0x00, 1, 7, 1, 0, 1, 2, 6), struct.pack(">I4s", 16, b"idat") + b"--packet"),
        (2, struct.pack(">BBIIHHHIII", 0x44, 0x04, 1, 7, 0, 0, 1, 9, 3, 6), b""),
    ],
)
def test_places_of_items(version, places, further):
    """ISO/IEC 14496-12, 8.11.3: in each version of the box, in one piece or two, up to the end, within the meta box."""
    assert xmp_items(b"...packet", item_boxes(version, places, further)) == [b"packet"]


@pytest.mark.parametrize(
    "places",
    [
        struct.pack(">BBHHHIHII", 0x44, 0x40, 1, 7, 0, 2, 1, 1, 7),
        struct.pack(">BBHHHIHI", 0x44, 0x40, 1, 7, 0, 2, 1, 1),
        struct.pack(">BBHHHIH", 0x44, 0x40, 1, 7, 0, 2, 0),
        struct.pack(">BBHHHIH", 0x44, 0x40, 1, 8, 0, 2, 0),
        b"",
    ],
)
def test_places_outside_are_noted(places):
    with pytest.raises(ValueError, match="lies outside|cut off"):
        xmp_items(b"...packet", item_boxes(0, places))


@pytest.mark.parametrize(
    "places",
    [
        struct.pack(">BBH", 0, 0, 4000) + struct.pack(">HHH", 7, 0, 0xFFFF) * 4000,
        struct.pack(">BBH", 0, 0, 1) + struct.pack(">HHH", 7, 0, 4000),
        struct.pack(">BBH", 0, 0, 0xFFFF),
    ],
)
def test_items_of_many_pieces_are_not_put_together(places):
    """Pieces that take no byte of the box, and lie one on the other."""
    began = time.process_time()
    with pytest.raises(bounds.TooLarge):
        xmp_items(b"a" * 1_000_000, item_boxes(0, places))
    assert time.process_time() - began < 1


TEXT = PACKET.decode()
FORGIVEN = {
    "UTF-16": TEXT.encode("utf-16"),
    "UTF-16 BE": ("\ufeff" + TEXT).encode("utf-16-be"),
    "UTF-16 without a mark": TEXT.replace("<x:", '<?xpacket begin="\ufeff"?><x:', 1).encode("utf-16-le"),
    "UTF-16 BE without a mark": TEXT.encode("utf-16-be"),
    "UTF-32 BE": TEXT.encode("utf-32-be"),
    "UTF-32": TEXT.encode("utf-32"),
    "UTF-8 with a mark": TEXT.encode("utf-8-sig"),
    "XML declaration": b'<?xml version="1.0" encoding="UTF-16"?>' + PACKET,
    "padded": PACKET + b" \n" * 2000 + b'<?xpacket end="w"?>',
    "padded with zeros": b"\0" + PACKET + b"\0" * 500,
    "bytes behind the packet": PACKET + b'<?xpacket end="w"?><x><y>\xff\xdb<\0&',
    "bytes behind its last element": PACKET + b"\xff\xdb\0\x84 further </bytes>",
    "bytes before the packet": b"XMP\0\0\1" + PACKET,
    "Latin-1": PACKET.replace(b"</rdf:D", b"<dc:title>Caf\xe9</dc:title></rdf:D"),
    "control characters": PACKET.replace(b"</rdf:D", b"<dc:title>a\0b\x1bc&#0;&#x1f;</dc:title></rdf:D"),
    "a bare ampersand": PACKET.replace(b"</rdf:D", b"<dc:title>A & B &c; &amp;</dc:title></rdf:D"),
    "an undeclared element": PACKET.replace(b"</rdf:D", b"<Camera:Trait>x</Camera:Trait></rdf:D"),
    "an undeclared attribute": PACKET.replace(b"<rdf:D", b'<rdf:Description a:b="c"/><rdf:D', 1),
    "no namespace declared": b"<rdf:RDF><rdf:Description>" + PROPERTY.encode() + b"</rdf:Description></rdf:RDF>",
    "two packets in one": xmp_packet("") + PACKET,
    "another prefix": TEXT.replace("Iptc4xmpExt:", "ns7:").replace(":Iptc4xmpExt=", ":ns7=").encode(),
}


@pytest.mark.parametrize("name", FORGIVEN)
def test_what_programs_get_wrong_in_xmp_is_forgiven(name):
    declared = declared_in(in_jpeg(FORGIVEN[name]))
    assert finding(declared, "xmp")["says"] == "generated"
    assert declared["unreadable"] == []


def png_xmp(packet: bytes) -> bytes:
    return png_with_chunks(png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet))


DAMAGED = {
    "cut off": lambda: png_xmp(PACKET[: PACKET.index(b"</rdf:D")]),
    "an element that is closed by another": lambda: png_xmp(xmp_packet(PROPERTY + "<dc:title></dc:creator>")),
    "too many elements": lambda: png_xmp(xmp_packet(PROPERTY + "<dc:title/>" * bounds.MAX_XMP_ELEMENTS)),
    "a second packet": lambda: with_segments([JPEG_HEAD + PACKET, JPEG_HEAD + b"<broken"]),
    "too many packets": lambda: with_segments(
        [JPEG_HEAD + PACKET, *(JPEG_HEAD + b"<x%d/>" % number for number in range(bounds.MAX_XMP_PACKETS))]
    ),
    "extended, over the bound": lambda: with_segments(
        extended_xmp(b"<x>" + b" " * bounds.MAX_XMP_BYTES + b"</x>", 80), data=in_jpeg(PACKET)
    ),
    "extended, the last piece missing": lambda: with_segments(
        extended_xmp(PACKET.replace(b"</rdf:D", b" " * 900 + b"</rdf:D"), 4)[:3], data=in_jpeg(naming(PACKET))
    ),
    "extended, of another name": lambda: with_segments(
        extended_xmp(PACKET, name=b"0" * 32), data=in_jpeg(naming(PACKET))
    ),
    "extended, not named": lambda: with_segments(extended_xmp(PACKET), data=in_jpeg(xmp_packet(""))),
    "extended, a head that is cut off": lambda: with_segments([extended_xmp(PACKET)[0][:60]], data=in_jpeg(PACKET)),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_can_be_read_of_damaged_xmp_is_told_and_the_damage_noted(name):
    declared = declared_in(DAMAGED[name]())
    assert finding(declared, "xmp")["says"] == "generated"
    assert [note["source"] for note in declared["unreadable"]] == ["xmp"]
    assert "XMP data that cannot be read" in summarise(declared, "real")


SOFTWARE = b"Stable Diffusion\0"
EXIF_BLOCK = exif_tiff({0x0131: (2, SOFTWARE)})


def webp_with_exif_behind() -> bytes:
    data = encoded(small_photo(), "WEBP")
    chunk = b"EXIF" + len(EXIF_BLOCK).to_bytes(4, "little") + EXIF_BLOCK + b"\0" * (len(EXIF_BLOCK) % 2)
    return data[:4] + (len(data) - 8 + len(chunk)).to_bytes(4, "little") + data[8:] + chunk


def big_tiff() -> bytes:
    return encoded(small_photo(), "TIFF", tiffinfo={0x0131: SOFTWARE[:-1].decode()}, big_tiff=True)


@pytest.mark.parametrize(
    "make",
    [
        lambda: encoded(small_photo(), "JPEG", exif=b"Exif\0\0" + EXIF_BLOCK),
        lambda: with_segments([b"Exif\0\0Exif\0\0" + EXIF_BLOCK]),
        lambda: with_segments([b"Exif\0\0" + exif_tiff({0x0131: (129, SOFTWARE)})]),
        lambda: with_segments([b"Exif\0\0" + exif_tiff({0x0131: (129, SOFTWARE)}, order=">")]),
        lambda: with_segments([b"Exif\0\0" + exif_tiff({0x0131: (2, SOFTWARE)}, is_big=True)]),
        lambda: with_segments([b"Exif\0\0" + exif_tiff({0x0131: (129, SOFTWARE)}, is_big=True, order=">")]),
        lambda: png_with_chunks(png_chunk(b"eXIf", EXIF_BLOCK), at_end=True),
        lambda: png_with_text({"Raw profile type exif": raw_profile("exif", b"Exif\0\0" + EXIF_BLOCK)}),
        lambda: png_with_text({"Raw profile type APP1": raw_profile("app1", b"Exif\0\0" + EXIF_BLOCK)}),
        webp_with_exif_behind,
        big_tiff,
    ],
)
def test_exif_in_every_carrier(make):
    declared = declared_in(make())
    found = finding(declared, "exif")
    assert (found["says"], found["values"]["software"]) == ("generated", "Stable Diffusion")
    assert declared["unreadable"] == []


def test_a_second_block_of_exif_adds_to_the_first():
    blocks = [
        exif_tiff({0x010F: (2, b"Example\0")}),
        exif_tiff({0x010F: (2, b"Other\0"), 0x0131: (2, SOFTWARE)}, order=">"),
    ]
    found = finding(declared_in(with_segments([b"Exif\0\0" + block for block in blocks])), "exif")
    assert (found["values"]["maker"], found["values"]["software"]) == ("Example", "Stable Diffusion")


def test_exif_goes_on_in_the_next_segment():
    block = exif_tiff({0x0131: (2, SOFTWARE)})
    data = with_segments([b"Exif\0\0" + block[:20], b"Exif\0\0" + block[20:]])
    assert finding(declared_in(data), "exif")["values"]["software"] == "Stable Diffusion"


@pytest.mark.parametrize(
    "make",
    [
        lambda: with_segments([JPEG_HEAD]),
        lambda: in_jpeg(b" \n" * 200),
        lambda: in_jpeg(b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<?xpacket end="w"?>'),
        lambda: with_segments([b"Exif\0\0"]),
        lambda: with_segments([b"Exif\0\0\0\0\0\0"]),
    ],
)
def test_an_empty_carrier_declares_nothing(make):
    declared = declared_in(make())
    assert sources(declared) == ["jpeg_quantisation"]
    assert declared["unreadable"] == []


@pytest.mark.parametrize("kind", [2, 129])
@pytest.mark.parametrize("text", ["Exämple 灯台", "Café"])
def test_exif_texts_in_utf_8(kind, text):
    data = with_segments([b"Exif\0\0" + exif_tiff({0x010E: (kind, text.encode() + b"\0")})])
    assert finding(declared_in(data), "exif")["values"]["tags"]["image"]["ImageDescription"] == text


def test_exif_texts_in_latin_1():
    data = with_segments([b"Exif\0\0" + exif_tiff({0x010E: (2, b"Caf\xe9 au lait\0")})])
    assert finding(declared_in(data), "exif")["values"]["tags"]["image"]["ImageDescription"] == "Café au lait"


JAPANESE = "霧の中の灯台、夜明け。" * 120
COMMENTS = {
    "ASCII": b"ASCII\0\0\0" + INFOTEXT.encode(),
    "ASCII that holds UTF-8": b"ASCII\0\0\0" + ("café, " + INFOTEXT).encode(),
    "ASCII that holds UTF-16": b"ASCII\0\0\0" + INFOTEXT.encode("utf-16-le"),
    "undefined": b"\0" * 8 + INFOTEXT.encode(),
    "undefined that holds UTF-16": b"\0" * 8 + INFOTEXT.encode("utf-16-be"),
    "none": INFOTEXT.encode(),
    "padded with blanks": b"ASCII   " + INFOTEXT.encode(),
    "lower case": b"Unicode\0" + INFOTEXT.encode("utf-16-le"),
    "JIS": b"JIS\0\0\0\0\0" + ("灯台 " + INFOTEXT).encode("iso2022_jp"),
    "JIS in Shift JIS": b"JIS\0\0\0\0\0" + ("灯台 " + INFOTEXT).encode("cp932"),
    "UNICODE": user_comment(INFOTEXT, "utf-16-be"),
    "UNICODE, other order": user_comment(INFOTEXT, "utf-16-le"),
    "UNICODE, marked": user_comment("\ufeff" + INFOTEXT, "utf-16-le"),
    "UNICODE with an odd byte": user_comment(INFOTEXT, "utf-16-le") + b"\0",
    "long Japanese": user_comment(JAPANESE + INFOTEXT, "utf-16-be"),
    "long Japanese, other order": user_comment(JAPANESE + INFOTEXT, "utf-16-le"),
    "ideographic spaces": user_comment("灯　台　" * 600 + INFOTEXT, "utf-16-le"),
}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", COMMENTS)
def test_user_comment_in_every_code(name, order):
    block = exif_tiff({}, order=order, photo={0x9286: (7, COMMENTS[name])})
    found = finding(declared_in(with_segments([b"Exif\0\0" + block])), "generation_parameters")
    assert found["values"]["parameters"]["steps"] == "20"
    assert "lamp" in found["values"]["parameters"]["prompt"] or "…" in found["values"]["parameters"]["prompt"]


@pytest.mark.parametrize("kind", [2, 129])
def test_user_comment_as_a_text(kind):
    block = exif_tiff({}, photo={0x9286: (kind, f"灯台 {INFOTEXT}\0".encode())})
    found = finding(declared_in(with_segments([b"Exif\0\0" + block])), "generation_parameters")
    assert found["values"]["parameters"]["prompt"] == "灯台 a lamp"


@pytest.mark.parametrize("order", ["utf-16-be", "utf-16-le"])
@pytest.mark.parametrize(
    "text", ["霧の中の灯台", "a lamp", "лампа в тумане", "灯台　灯台　灯台　灯台", "안개 속의 등대"]
)
def test_byte_order_of_short_comments(text, order):
    block = exif_tiff({}, order="<" if order.endswith("le") else ">", photo={0x9286: (7, user_comment(text, order))})
    told = finding(declared_in(with_segments([b"Exif\0\0" + block])), "exif")["values"]["tags"]["photo"]["UserComment"]
    assert told.split() == text.split()


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt"])
@pytest.mark.parametrize("prompt", ["灯台 café in fog", "plain", "Ünïcode"])
def test_png_texts_in_utf_8(kind, prompt):
    text = f"{prompt}\n{INFOTEXT}".encode()
    content = {b"tEXt": text, b"zTXt": b"\0" + zlib.compress(text), b"iTXt": b"\0\0\0\0" + text}[kind]
    data = png_with_chunks(png_chunk(kind, b"parameters\0" + content))
    told = finding(declared_in(data), "generation_parameters")["values"]["parameters"]["prompt"]
    assert told == f"{prompt} a lamp"


def test_png_texts_in_latin_1():
    data = png_with_chunks(png_chunk(b"tEXt", b"Title\0Caf\xe9 au lait"))
    assert finding(declared_in(data), "png_text")["values"] == {"Title": "Café au lait"}


def photoshop_block(city: bytes) -> bytes:
    block = b"\x1c\x02\x5a" + len(city).to_bytes(2, "big") + city
    return b"8BIM\x04\x04\0\0" + len(block).to_bytes(4, "big") + block + b"\0" * (len(block) % 2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: with_segments([b"Photoshop 3.0\0" + photoshop_block(b"Example Town")], 0xED),
        lambda: png_with_text({"Raw profile type iptc": raw_profile("iptc", photoshop_block(b"Example Town"))}),
        lambda: png_with_text({"Raw profile type iptc": raw_profile("iptc", photoshop_block(b"Example Town")[12:])}),
        lambda: png_with_text({"Raw profile type 8bim": raw_profile("8bim", photoshop_block(b"Example Town"))}),
        lambda: encoded(small_photo(), "TIFF", tiffinfo={0x8649: photoshop_block(b"Example Town")}),
        lambda: encoded(small_photo(), "TIFF", tiffinfo={0x83BB: photoshop_block(b"Example Town")[12:]}),
    ],
)
def test_iptc_in_every_carrier(make):
    data = make()
    shown = read(data, include_places=True)
    assert finding(shown, "iptc")["values"] == {"city": "Example Town"}
    for secret in ("Example Town", b"Example Town".hex()):
        assert secret not in json.dumps(declared_in(data))
    assert b"Example Town".hex() not in json.dumps(shown)


def edited(**members: object) -> dict[str, bytes]:
    return {"PhotoEditor_Re_Edit_Data": json.dumps({"originalPath": "/private/path.jpg", **members}).encode()}


def heic_with_box(content: bytes) -> bytes:
    return HEIC.read_bytes() + (8 + len(content)).to_bytes(4, "big") + b"sefd" + content


@pytest.mark.parametrize(
    ("records", "says"),
    [
        (edited(genAIType="objectErase"), "edited_with_ai"),
        (edited(genAIType=3), "edited_with_ai"),
        (edited(isAIEdit=True), "edited_with_ai"),
        (edited(clipInfoValue='{"genAIType": 1}', toneValue="{brightness}"), "edited_with_ai"),
        ({"Image_UTC_Data": b"1700000000000", "PEg_Info": b'{"genAIType": 2}'}, "edited_with_ai"),
        ({**edited(genAIType=1), "Original_Path_Hash_Key": b"x"}, "edited_with_ai"),
        (edited(genAIType=0, isAIEdit=False), "nothing"),
        (edited(genAIType=""), "nothing"),
        (edited(rotation=1), "nothing"),
        ({"Other_Data": b'{"genAIType": 1}'}, "nothing"),
        ({"Image_UTC_Data": b"1700000000000", "MCC_Data": b"234"}, "nothing"),
    ],
)
@pytest.mark.parametrize("behind", [b"", b"\0" * 16 + b"more"])
def test_samsung_trailer(records, says, behind):
    for data in (phone_photo() + samsung_trailer(records) + behind, heic_with_box(samsung_trailer(records))):
        declared = declared_in(data)
        found = finding(declared, "samsung_trailer")
        assert (found["says"], found["values"]["records"]) == (says, list(records))
        assert "private" not in json.dumps(read(data, include_places=True)) and "234" not in json.dumps(found)
        assert declared["unreadable"] == []


def test_the_country_of_a_samsung_phone_is_told_when_asked_for():
    declared = declared_in(phone_photo() + samsung_trailer({"MCC_Data": b"234"}), include_places=True)
    assert finding(declared, "samsung_trailer")["values"]["country_code"] == "234"


TRAILER = samsung_trailer(edited(genAIType=1))
UNREADABLE = {
    "exif head": ("exif", lambda: with_segments([b"Exif\0\0XX" + EXIF_BLOCK[2:]])),
    "exif cut off": ("exif", lambda: with_segments([b"Exif\0\0" + EXIF_BLOCK[:14]])),
    "exif value outside": ("exif", lambda: with_segments([b"Exif\0\0" + EXIF_BLOCK[:-8]])),
    "exif of an unknown type": ("exif", lambda: with_segments([b"Exif\0\0" + exif_tiff({0x0131: (130, SOFTWARE)})])),
    "exif of a PNG": ("exif", lambda: png_with_chunks(png_chunk(b"eXIf", b"no EXIF at all"))),
    "exif of a WebP": ("exif", lambda: encoded(small_photo(), "WEBP", exif=b"no EXIF at all")),
    "exif profile": ("exif", lambda: png_with_text({"Raw profile type exif": "\nexif\n 4\nno digits"})),
    "xmp profile": ("xmp", lambda: png_with_text({"Raw profile type xmp": "\nxmp\n 4\n3c3"})),
    "iptc profile": ("iptc", lambda: png_with_text({"Raw profile type iptc": "no digits"})),
    "iptc cut off": ("iptc", lambda: with_segments([b"Photoshop 3.0\0" + photoshop_block(b"Town")[:-2]], 0xED)),
    "packed text": ("png_text", lambda: png_with_chunks(png_chunk(b"zTXt", b"a\0\0" + zlib.compress(b"x")[:-3]))),
    "xmp": ("xmp", lambda: in_jpeg(b"no XMP")),
    "xmp of a GIF": ("xmp", lambda: gif_with_xmp(b"no XMP")),
    "trailer's directory": ("samsung_trailer", lambda: phone_photo() + TRAILER.replace(b"SEFH", b"SEFX") + b"SEFH"),
    "trailer's record": ("samsung_trailer", lambda: phone_photo() + TRAILER[60:]),
    "trailer's JSON": ("samsung_trailer", lambda: phone_photo() + samsung_trailer({"PEg_Info": b'{"genAIType"'})),
    "credentials": ("c2pa", lambda: (CASES / "c2pa_unreadable.jpg").read_bytes()),
    "credentials, outer box": ("c2pa", lambda: signed(CAPTURE).replace(b"jumb", b"jumx")),
    "credentials of a PNG": ("c2pa", lambda: png_with_chunks(png_chunk(b"caBX", b"no credentials"))),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_reaches_the_summary(name):
    source, make = UNREADABLE[name]
    declared = declared_in(make())
    assert [note["source"] for note in declared["unreadable"]] == [source]
    sentence = summarise(declared, "real")
    assert "cannot be read" in sentence and "declares nothing" not in sentence


@pytest.mark.parametrize("source", ["icc", "thumbnail", "dimensions", "jpeg_quantisation"])
def test_an_unreadable_source_that_states_no_origin_leaves_the_summary_alone(source):
    declared = {"findings": [], "unreadable": [{"source": source, "unreadable": "x"}]}
    assert "cannot be read" not in summarise(declared, "real")


def test_broken_exif_hides_no_picture():
    assert decode(with_segments([b"Exif\0\0garbage"])).size == small_photo().size


def test_exif_in_thousands_of_segments_is_refused_at_once():
    data = with_segments([b"Exif\0\0" + EXIF_BLOCK] + [b"Exif\0\0" + b"a" * 1400] * 4000)
    began = time.process_time()
    with pytest.raises(RequestError, match="more than 64 segments"):
        decode(data)
    assert time.process_time() - began < 1


def test_a_text_of_a_png_hides_no_other():
    broken = png_chunk(b"zTXt", b"a\0\0broken")
    data = png_with_chunks(broken, png_chunk(b"tEXt", b"parameters\0" + INFOTEXT.encode()))
    declared = declared_in(data)
    assert "generation_parameters" in sources(declared)
    assert [note["source"] for note in declared["unreadable"]] == ["png_text"]
