"""Mutated files of every kind: no exception, a bounded answer, and little time.

`python -m tests.provenance.test_fuzz COUNT` reads so many mutants and prints how it went (docs/explanations.md).
"""

import argparse
import random
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from PIL import Image

from imagetrust.errors import RequestError
from imagetrust.images.decode import decode
from imagetrust.provenance import read_declarations
from tests.procedural import encoded
from tests.provenance import files
from tests.provenance.checks import check

SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "samples"
HEIC = Path(__file__).parents[1] / "data" / "gradient.heic"
MAX_SECONDS = 5.0  # of processor time for one file; the mean is a few milliseconds
_MAX_SAMPLE_BYTES = 170_000  # larger ones cost mostly the decoding of their pixels
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_TOKENS = (
    b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\x01", b"\xff\xd8\xff\xe1", b"\xff\xfe", b"\xc0\xaf",
    b"\xed\xa0\x80", b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"&b;", b"<rdf:li>", b"</rdf:li>", b"{", b"[", b'"', b"}", b"]",
    b"NaN", b"1e999", b"-0", b"9" * 400, b"[" * 2000, b'{"a":' * 500, b"\\ud800", b"Steps: ", b"Negative prompt:",
    b"Job ID: ", b"<script>alert(1)</script>", "\u202e\u2028".encode(), b"jumb", b"c2pa", b"jumd", b"\xa1\x63", b"\x9f",
    b"AIGC", b"prompt:", b"stealth_pngcomp", b"digsrctype:",
    b"\xbf", b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff", b"\xd8\x3d" * 40,
)  # fmt: skip


def originals() -> dict[str, bytes]:
    """Unharmed files with every kind of metadata that is read, and the smaller ones of the shared samples."""
    photo = files.small_photo()
    label = '{"Label":"1","ContentProducer":"X","ProduceID":"1"}'
    infotext = "a cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512"
    made = {
        "phone": files.phone_photo(photo.resize((40, 30))),
        "xmp": files.with_xmp(
            f"<Iptc4xmpExt:DigitalSourceType>{files.TRAINED}</Iptc4xmpExt:DigitalSourceType>"
            "<xmpMM:History><rdf:Seq><rdf:li stEvt:action='created' stEvt:softwareAgent='X'/></rdf:Seq></xmpMM:History>"
        ),
        "xmp webp": files.with_xmp("<xmp:CreatorTool>X</xmp:CreatorTool>", "WEBP"),
        "xmp tiff": files.with_xmp("<xmp:CreatorTool>X</xmp:CreatorTool>", "TIFF"),
        "infotext": files.png_with_text({"parameters": infotext}),
        "infotext jpeg": files.with_exif({}, {0x9286: files.user_comment(infotext)}),
        "comfyui": files.png_with_text(
            {
                "prompt": '{"3":{"class_type":"KSampler","inputs":{"seed":1,"positive":["6",0]}},'
                '"6":{"class_type":"CLIPTextEncode","inputs":{"text":"a cat"}}}',
                "workflow": '{"nodes":[],"links":[]}',
            }
        ),
        "novelai": files.png_with_text({"Software": "NovelAI", "Comment": '{"uc":"x","seed":3}', "Description": "y"}),
        "invokeai": files.png_with_text({"invokeai_metadata": '{"positive_prompt":"x","model":{"name":"m"}}'}),
        "dream": files.png_with_text({"Dream": '"a cat [dog]" -s 50 -S 1 -W512 -H512 -C7.5 -Ak_lms'}),
        "swarmui": files.with_exif({}, {0x9286: files.user_comment('{"sui_image_params":{"prompt":"x"}}')}),
        "midjourney": files.png_with_text(
            {"Description": "a cat --ar 1:1 --v 6 Job ID: 01234567-89ab-cdef-0123-456789abcdef"}
        ),
        "comment": encoded(photo, "JPEG", comment="CREATOR: gd-jpeg v1.0"),
        "gif": encoded(photo, "GIF", comment="made by hand"),
        "exif png": files.with_exif({0x010F: "Example"}, {0xA434: "Lens"}, image_format="PNG"),
        "exif webp": files.with_exif({0x010F: "Example"}, {0xA434: "Lens"}, image_format="WEBP"),
        "exif avif": files.with_exif({0x010F: "Example"}, {0xA434: "Lens"}, image_format="AVIF"),
        "exif tiff": files.with_exif({0x010F: "Example"}, {0xA434: "Lens"}, image_format="TIFF"),
        "icc": encoded(photo, "JPEG", icc_profile=files.colour_profile()),
        "iptc": files.with_iptc({65: b"Program", 110: b"Credit", 25: b"word"}),
        "bmp": encoded(photo, "BMP"),
        "remote": files.signed(files.CAPTURE, remote_url="http://127.0.0.1:9/manifest.c2pa"),
        "label xmp": files.with_xmp(
            f'<T:AIGC xmlns:T="http://www.tc260.org.cn/ns/AIGC/1.0/">{label}</T:AIGC>'
            "<Iptc4xmpExt:AISystemUsed>X 1</Iptc4xmpExt:AISystemUsed>"
            "<photoshop:Credit>Edited with Google AI</photoshop:Credit>"
        ),
        "label text": files.png_with_text({"AIGC": label}),
        "label chunk": files.png_with_chunks(files.png_chunk(b"aIGC", label.encode())),
        "label exif": files.with_exif({0x010E: f"AIGC{label}"}, {0x9286: files.user_comment(f'{{"AIGC": {label}}}')}),
        "grok": files.with_exif({0x010E: "Signature: " + "goKC" * 40, 0x013B: "00000000-1111-4222-8333-444444444444"}),
        "game": files.with_exif({0x010F: "Polyphony Digital Inc.", 0x0110: "Gran Turismo 7"}),
        "comfyui jpeg": files.with_exif(
            {}, {0x9286: files.user_comment('{"prompt": "{\\"3\\": {\\"class_type\\": \\"X\\"}}", "workflow": {}}')}
        ),
        "comfyui webp": files.with_exif({0x010F: 'Prompt: {"3": {"class_type": "X"}}'}, image_format="WEBP"),
        "tensor art": files.png_with_text({"generation_data": '{"prompt":"x","models":[{"type":"BASE_MODEL"}]}'}),
        "ruined fooocus": files.png_with_text({"parameters": '{"Prompt":"x","software":"RuinedFooocus"}'}),
        "mflux": files.with_exif({}, {0x9286: b'{"mflux_version":"1","prompt":"x","seed":1,"guidance":2.5}'}),
        "pollinations": files.with_exif({0x010F: "flux", 0x9286: '{"prompt":"x","model":"flux","nologo":true}'}),
        "higgsfield": files.png_with_text({"hf-job-id": "01234567-89ab-4def-8123-456789abcdef"}),
        "app": files.with_exif({0x010E: '{"data":{"product":"aweme","aigc_info":"{\\"aigc_label_type\\":1}"}}'}),
        "windows": files.with_exif({tag: infotext.encode("utf-16-le") for tag in range(0x9C9B, 0x9CA0)}),
        "unnamed tool": files.png_with_text({"x": '{"prompt":"x","seed":1,"steps":2,"cfg_scale":3}'}),
        "mochi": files.with_iptc({120: b"Include in Image: x; Steps: 2; Generator: Mochi Diffusion 5.2"}),
        "civitai": files.with_exif(
            {}, {0x9286: files.user_comment(f'{infotext}, Civitai resources: [{{"type":"lora"}}], Version: 1')}
        ),
        "infotext xmp": files.with_xmp(f"<dc:description>{infotext}</dc:description>"),
        "hidden alpha": files.with_hidden_text('{"Software":"NovelAI","Comment":"{}"}', "stealth_pngcomp"),
        "hidden rgb": files.with_hidden_text(infotext, "stealth_rgbinfo"),
        "hidden webp": files.with_hidden_text(infotext, "stealth_rgbcomp", "WEBP"),
        "signed metadata": files.signed(
            files.CAPTURE,
            assertions=(
                {"label": "stds.exif", "data": {"@context": {"tiff": "x"}, "tiff:Make": "X"}},
                {"label": "com.adobe.generative-ai", "data": {"description": "X", "version": "1"}},
            ),
        ),
        "signed parameters": files.signed(
            None, action={"action": "c2pa.opened", "parameters": {"com.adobe.digitalSourceType": files.TRAINED}}
        ),
        "signed disclosure": files.signed(
            None, assertions=({"label": "c2pa.ai-disclosure", "data": {"modelType": "x", "modelName": "X"}},)
        ),
        "signed by older rules": files.with_wider_exclusion(files.signed(files.CAPTURE)),
    }
    made |= carriers()
    made |= {
        f"signed {name}": files.signed(files.TRAINED, name) for name in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "GIF")
    }
    made["heic"] = HEIC.read_bytes()
    samples = [path for path in sorted(SAMPLES.glob("*/*")) if path.stat().st_size <= _MAX_SAMPLE_BYTES]
    return made | {path.name: path.read_bytes() for path in samples}


def carriers() -> dict[str, bytes]:
    """Files that carry declarations in unusual places."""
    photo = files.small_photo()
    packet = files.xmp_packet(f"<Iptc4xmpExt:DigitalSourceType>{files.TRAINED}</Iptc4xmpExt:DigitalSourceType>")
    extension = files.extended_xmp(packet, 3)
    standard = files.xmp_packet("<xmpNote:HasExtendedXMP>" + extension[0][35:67].decode() + "</xmpNote:HasExtendedXMP>")
    head = b"http://ns.adobe.com/xap/1.0/\0"
    exif = files.exif_tiff(
        {0x0131: (129, b"Program\0"), 700: (1, packet)}, photo={0x9286: (7, b"JIS\0\0\0\0\0\x1b$BEt")}
    )
    profiles = {
        "exif": exif,
        "APP1": head + packet,
        "xmp": packet,
        "iptc": b"8BIM\x04\x04\0\0\0\0\0\x09\x1c\2\x5a\0\4Town",
    }
    records = {"PhotoEditor_Re_Edit_Data": b'{"genAIType":1,"x":"{}"}', "MCC_Data": b"234"}
    return {
        "xmp extended": files.with_segments([head + standard, *extension]),
        "xmp utf-16": files.with_segments([head + packet.decode().encode("utf-16-be")]),
        "xmp utf-32": files.with_segments([head + packet.decode().encode("utf-32-le")]),
        "xmp undeclared": files.with_segments([head + packet.replace(b"</rdf:D", b"<a:b c:d='&'/></rdf:D")]),
        "xmp gif": files.gif_with_xmp(packet),
        "xmp gif blocks": files.gif_with_xmp(packet, in_blocks=True),
        "xmp heic": files.heic_with_xmp_items(HEIC.read_bytes(), [standard, packet]),
        "xmp avif": encoded(photo, "AVIF", xmp=head + packet),
        "exif 3": files.with_segments([b"Exif\0\0" + exif]),
        "exif big": files.with_segments([b"Exif\0\0" + files.exif_tiff({0x0131: (2, b"Program\0")}, is_big=True)]),
        "big tiff": encoded(photo, "TIFF", tiffinfo={700: packet, 0x0131: "Program"}, big_tiff=True),
        "profiles": files.png_with_text(
            {f"Raw profile type {name}": files.raw_profile(name, content) for name, content in profiles.items()}
        ),
        "packed texts": files.png_with_chunks(
            files.png_chunk(b"zTXt", b"parameters\0\0" + zlib.compress(b"a cat\nSteps: 1, Seed: 2, Sampler: x")),
            files.png_chunk(b"iTXt", b"Title\0\1\0en\0\0" + zlib.compress(b"title")),
        ),
        "samsung": files.phone_photo() + files.samsung_trailer(records),
    }


def mutate(original: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """A changed copy: of JPEG and PNG files mostly one block of metadata, its length and checksum put right again, so
    that the decoder accepts it and the change reaches the parser of that block, or what stands behind the picture; of
    all files the bytes as such."""
    if rng.random() < 0.25:
        return _harmed(original, others, rng, len(original))
    if original.startswith(_PNG):
        chunks = list(_png_chunks(original))
        kind, content = chunks[at := rng.randrange(1 if len(chunks) > 1 else 0, len(chunks))]
        chunks[at] = (kind, _harmed(content, others, rng, len(content)))
        return _PNG + b"".join(
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
            for kind, content in chunks
        )
    if original.startswith(_JPEG) and original.endswith(b"SEFT") and rng.random() < 0.5:
        start = original.rindex(b"\xff\xd9") + 2
        return original[:start] + _harmed(original[start:], others, rng, len(original) - start)
    if original.startswith(_JPEG):
        segments, rest = _jpeg_segments(original)
        wanted = [number for number, (kind, _) in enumerate(segments) if kind >= 0xE0]
        at = rng.choice(wanted or range(len(segments)))
        kind, content = segments[at]
        segments[at] = (kind, _harmed(content, others, rng, len(content))[:65533])
        return _JPEG + b"".join(struct.pack(">BBH", 255, k, len(c) + 2) + c for k, c in segments) + rest
    return _harmed(original, others, rng, len(original))


def _harmed(original: bytes, others: list[bytes], rng: random.Random, limit: int) -> bytes:
    """One to four changes."""
    data = bytearray(original)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(max(1, min(limit, len(data))))
        match rng.randrange(7):
            case 0 | 1:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 2:
                number = rng.choice((0, 1, 255, 65535, 2**31, 2**32 - 1))
                data[at : at + 4] = struct.pack(rng.choice((">I", "<I")), number)
            case 3:
                token = rng.choice(_TOKENS)
                data[at : at + (len(token) if rng.random() < 0.6 else 0)] = token
            case 4:
                del data[at : at + rng.randint(1, 64)]
            case 5:
                data[at:at] = data[at : at + rng.randint(1, 512)] * rng.randint(1, 8)
            case 6:
                other = rng.choice(others)
                start = rng.randrange(len(other))
                piece = other[start : start + rng.randint(1, 2048)]
                data[at : at + (len(piece) if rng.random() < 0.6 else 0)] = piece
    return bytes(data)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = len(_PNG)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        yield kind, data[position + 8 : position + 8 + length]
        position += 12 + length


def _jpeg_segments(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Marker and content of each segment before the pixels, and the rest of the file."""
    segments, position = [], 2
    while data[position + 1] != 0xDA:
        _, kind, length = struct.unpack_from(">BBH", data, position)
        segments.append((kind, data[position + 4 : position + 2 + length]))
        position += 2 + length
    return segments, data[position:]


ORIGINALS = originals()


def seconds_to_read(name: str, seed: int, *, include_places: bool) -> float | None:
    """Read a mutant and check the answer. Returns the seconds of processor time; None where it never reaches the reader
    since it does not decode."""
    data = mutate(ORIGINALS[name], list(ORIGINALS.values()), random.Random(seed))
    try:
        decoded = decode(data)
    except RequestError:
        return None
    began = time.process_time()
    declared = read_declarations(data, decoded, include_places=include_places)
    seconds = time.process_time() - began
    check(declared)
    return seconds


@pytest.fixture(scope="module", autouse=True)
def small_images():
    """A mutant that claims to be large is only slow to decode."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Image, "MAX_IMAGE_PIXELS", 4_000_000)
        yield


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(ORIGINALS)), st.integers(0, 2**32), st.booleans())
def test_mutated_files(name, seed, include_places):
    seconds = seconds_to_read(name, seed, include_places=include_places)
    if seconds is None:
        reject()
    assert seconds < MAX_SECONDS


@pytest.mark.parametrize("name", sorted(ORIGINALS))
def test_unharmed_files(name):
    for include_places in (False, True):
        declared = files.read(ORIGINALS[name], include_places=include_places)
        check(declared)
        assert declared["unreadable"] == []


def main() -> None:
    """Read mutants of all originals in turn, until so many reached the reader; stop at the first fault."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0, help="of the first mutant")
    options = parser.parse_args()
    Image.MAX_IMAGE_PIXELS = 4_000_000
    names = sorted(ORIGINALS)
    reached, seed, total, slowest = 0, options.seed, 0.0, (0.0, "", 0)
    while reached < options.count:
        name = names[seed % len(names)]
        try:
            seconds = seconds_to_read(name, seed, include_places=bool(seed // len(names) % 2))
        except Exception:
            print(f"fault: mutant {seed} of {name}, the {reached + 1}th that reached the reader", flush=True)
            raise
        if seconds is not None:
            reached += 1
            total += seconds
            slowest = max(slowest, (seconds, name, seed))
            if reached % 5000 == 0 or reached == options.count:
                print(
                    f"{reached} mutants read of {seed + 1 - options.seed} made, no fault; "
                    f"{total / reached * 1000:.1f} ms of processor time each, "
                    f"the slowest {slowest[0]:.2f} s ({slowest[1]}, seed {slowest[2]})",
                    flush=True,
                )
        seed += 1


if __name__ == "__main__":
    main()
