"""Whatever the file: an answer, within the bounds, and no exception."""

import struct
import time
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imagetrust.errors import RequestError
from imagetrust.images.decode import decode
from imagetrust.provenance import bounds, read_declarations
from imagetrust.provenance.bounds import Answer
from tests.procedural import encoded
from tests.provenance.checks import check
from tests.provenance.files import (
    exif_tiff,
    extended_xmp,
    gif_with_xmp,
    png_chunk,
    png_with_chunks,
    png_with_text,
    samsung_trailer,
    small_photo,
    with_exif,
    with_hidden_text,
    with_segments,
)

json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(), json_like))
def test_any_value_becomes_bounded_json(values):
    detail = Answer().text(str(values)) or "x"
    finding = {"source": "exif", "strength": "unsigned", "says": "nothing", "detail": detail}
    check({"findings": [finding | {"values": Answer().json(values)}], "unreadable": []})


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("a\x00b\x1b[31m\r\nc", "a b [31m c"),
        ("\ud800x", "x"),
        ("\u202eevil\u2066", "evil"),
        ("<script>alert(1)</script>", "‹script›alert(1)‹/script›"),
        (b"\xff\xfeabc", "\ufffd\ufffdabc"),
        ("  a   b ", "a b"),
        (10**400, "an integer of 1329 bits"),
        (float("nan"), "nan"),
    ],
)
def test_texts_are_made_harmless(raw, clean):
    assert Answer().text(raw) == clean


def test_long_texts_are_cut_and_marked():
    answer = Answer()
    assert answer.text("x" * bounds.MAX_TEXT) == "x" * bounds.MAX_TEXT and not answer.cut
    assert answer.text("x" * (bounds.MAX_TEXT + 1)) == "x" * (bounds.MAX_TEXT - 1) + "…" and answer.cut


def test_all_texts_of_an_answer_share_a_budget():
    answer = Answer()
    total = sum(len(answer.text("x" * bounds.MAX_TEXT)) for _ in range(1000))
    assert total <= bounds.MAX_ANSWER_TEXT + 1000


def exif_of_fractions(count: int) -> bytes:
    """A block whose Exif directory has one tag with that many fractions."""
    first = struct.pack("<HHHIII", 1, 0x8769, 4, 1, 26, 0)
    second = struct.pack("<HHHIII", 1, 0x9000, 5, count, 44, 0)
    return b"II*\0\x08\0\0\0" + first + second + b"\1" * (8 * count)


def xmp_chunk(packet: bytes) -> bytes:
    return png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)


HEAVY = {
    "four thousand empty segments": lambda: (
        (data := encoded(small_photo(), "JPEG"))[:2] + b"\xff\xee\0\x02" * 4000 + data[2:]
    ),
    "ninety thousand texts": lambda: png_with_chunks(*(png_chunk(b"tEXt", b"k%d\0v" % n) for n in range(90_000))),
    "texts that unpack to 60 MB": lambda: png_with_chunks(
        *(png_chunk(b"zTXt", b"k%d\0\0" % n + zlib.compress(b"a" * 1_000_000)) for n in range(60))
    ),
    "a million fractions": lambda: png_with_chunks(png_chunk(b"eXIf", exif_of_fractions(1_000_000))),
    "deep XMP": lambda: png_with_chunks(
        xmp_chunk(b'<x xmlns:a="http://ns.adobe.com/xap/1.0/">' + b"<a:b>" * 90_000 + b"</a:b>" * 90_000 + b"</x>")
    ),
    "wide XMP": lambda: png_with_chunks(
        xmp_chunk(b'<x xmlns:a="http://ns.adobe.com/xap/1.0/">' + b"<a:b/>" * 170_000 + b"</x>")
    ),
    "XMP over the bound": lambda: png_with_chunks(xmp_chunk(b"<x>" + b" " * bounds.MAX_XMP_BYTES + b"</x>")),
    "XMP of half a million words": lambda: png_with_chunks(xmp_chunk(b"<x>" + b" a:b" * 250_000 + b"</x>")),
    "XMP of ampersands": lambda: png_with_chunks(xmp_chunk(b"<x>" + b"&#x&" * 250_000 + b"</x>")),
    "XMP of opening brackets": lambda: png_with_chunks(xmp_chunk(b"<" * 1_000_000)),
    "XMP of attributes": lambda: png_with_chunks(
        xmp_chunk(b"<x " + b" ".join(b'a:b%d="c"' % number for number in range(60_000)) + b"/>")
    ),
    "extended XMP of four megabytes": lambda: with_segments(
        extended_xmp(b"<x>" + b"<a:b>c</a:b>" * 340_000 + b"</x>", 80)
    ),
    "four thousand packets": lambda: with_segments([b"http://ns.adobe.com/xap/1.0/\0<x%d/>" % n for n in range(4000)]),
    "four thousand extended packets": lambda: with_segments(
        [extended_xmp(b"<x%d/>" % number)[0] for number in range(4000)]
    ),
    "a hundred profiles": lambda: png_with_chunks(
        *(
            png_chunk(b"zTXt", b"Raw profile type exif%d\0\0" % number + zlib.compress(b"4949" * 20_000))
            for number in range(100)
        )
    ),
    "EXIF of sixty thousand entries": lambda: png_with_chunks(
        png_chunk(
            b"eXIf",
            b"II*\0\x08\0\0\0\xff\xff" + b"".join(struct.pack("<HHII", n, 3, 200_000, 8) for n in range(65_535)),
        )
    ),
    "IPTC of empty data sets": lambda: png_with_chunks(
        png_chunk(b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(b"\niptc\n 1\n" + b"1c02190000" * 90_000))
    ),
    "a trailer of many records": lambda: (
        encoded(small_photo(), "JPEG")
        + samsung_trailer({"a" * 9: b"b"}, 1)[:-8]
        + struct.pack("<I", 24)
        + b"SEFT" * 2_000_000
    ),
    "a trailer with a long record": lambda: (
        encoded(small_photo(), "JPEG") + samsung_trailer({"PEg_Info": b'{"a":' * 200_000})
    ),
    "a GIF of one long packet": lambda: gif_with_xmp(b"<x>" + b"<a/>" * 1_000_000),
    "a comment of half a million characters": lambda: png_with_chunks(
        png_chunk(b"eXIf", exif_tiff({}, photo={0x9286: (7, b"UNICODE\0" + b"\x30\x42" * 450_000)}))
    ),
    "a parameter line of quotes": lambda: png_with_text({"parameters": "Steps: 1, Seed: " + '"' * 500_000}),
    "a parameter line of names": lambda: png_with_text({"parameters": "Steps: 1, Seed: " + "A " * 250_000}),
    "a graph of wires in a ring": lambda: png_with_text(
        {"prompt": '{"1": {"class_type": "x", "inputs": {"positive": ["1", 0], "seed": 1, "text": ["1", 0]}}}'}
    ),
    "deep JSON": lambda: png_with_text({"prompt": '{"a":' * 100_000}),
    "a long number in JSON": lambda: png_with_text({"prompt": '{"a":' + "9" * 100_000 + "}"}),
    "a parameter line of lists": lambda: png_with_text({"parameters": "Steps: 1, Seed: " + "A: [1, " * 70_000}),
    "a parameter line of brackets": lambda: png_with_text({"parameters": "Steps: 1, Seed: " + "[" * 500_000}),
    "a text of steps": lambda: png_with_text({"parameters": "Steps: 1, Seed: 1, " * 25_000}),
    "a text of semicolons": lambda: png_with_text(
        {"Description": "Include in Image: x Generator: " + "; Steps" * 70_000}
    ),
    "a label of labels": lambda: png_with_text({"AIGC": '{"AIGC":' * 60_000}),
    "many objects": lambda: png_with_chunks(
        *(png_chunk(b"tEXt", b"k%d\0" % n + b'{"a":' + b"[1]," * 50_000 + b"}") for n in range(90))
    ),
    "a hidden text in many pixels": lambda: with_hidden_text(
        "a" * 400_000, "stealth_pnginfo", image=Image.new("RGB", (4096, 4096), "grey")
    ),
    "a hidden bomb": lambda: with_hidden_text(
        "a" * 50_000_000, "stealth_rgbcomp", image=Image.new("RGB", (1024, 1024), "grey")
    ),
    "a long maker": lambda: with_exif({0x010F: "x" * 60_000}),
}


OVERFULL = {
    "over 4096 segments": lambda: (
        (data := encoded(small_photo(), "JPEG"))[:2] + b"\xff\xee\0\x02" * 1_000_000 + data[2:]
    ),
    "over 100000 chunks": lambda: png_with_chunks(*(png_chunk(b"tEXt", b"k%d\0v" % n) for n in range(200_000))),
}


@pytest.mark.parametrize("limit", OVERFULL)
def test_files_of_nothing_but_metadata_are_refused_at_once(limit):
    data = OVERFULL[limit]()
    began = time.process_time()
    with pytest.raises(RequestError, match=limit):
        decode(data)
    assert time.process_time() - began < 1


@pytest.mark.parametrize("name", HEAVY)
def test_heavy_files_are_read_quickly(name):
    data = HEAVY[name]()
    picture = decode(data)
    began = time.process_time()
    declared = read_declarations(data, picture, include_places=True)
    assert time.process_time() - began < 3
    check(declared)
