"""Small files with each kind of metadata, made by the tests themselves, and a certificate chain to sign them with."""

import datetime
import gzip
import hashlib
import io
import json
import struct
import zlib
from functools import cache

import c2pa
import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin

from imagetrust.images.decode import decode
from imagetrust.provenance import read_declarations
from tests.procedural import encoded, scene

TRAINED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
COMPOSITE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
CAPTURE = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"


def read(data: bytes, **options) -> dict:
    """What a file declares, from its bytes alone."""
    return read_declarations(data, decode(data), **options)


def finding(declared: dict, source: str) -> dict:
    """The only finding of a source."""
    (found,) = [finding for finding in declared["findings"] if finding["source"] == source]
    return found


def sources(declared: dict) -> list[str]:
    return [finding["source"] for finding in declared["findings"]]


def small_photo(seed: int = 3, width: int = 120, height: int = 90) -> Image.Image:
    return Image.fromarray(scene(np.random.default_rng(seed), width, height).clip(0, 255).astype(np.uint8))


def png_with_text(texts: dict[str, str], image: Image.Image | None = None) -> bytes:
    chunks = PngImagePlugin.PngInfo()
    for keyword, text in texts.items():
        chunks.add_itxt(keyword, text, zip=len(text) > 1000)
    return encoded(image or small_photo(), "PNG", pnginfo=chunks)


def with_hidden_text(text: str, signature: str, image_format: str = "PNG", image: Image.Image | None = None) -> bytes:
    """A file with a text in the lowest bits of its pixels, where and how the signature ("stealth_pngcomp") says."""
    payload = gzip.compress(text.encode()) if signature.endswith("comp") else text.encode()
    hidden = signature.encode() + (8 * len(payload)).to_bytes(4, "big") + payload
    pixels = np.array((image or small_photo()).convert("RGBA" if "png" in signature else "RGB"))
    chosen = pixels[..., 3:] if "png" in signature else pixels
    columns = chosen.transpose(1, 0, 2).copy()
    flat = columns.reshape(-1)
    bits = np.unpackbits(np.frombuffer(hidden, np.uint8))
    flat[: len(bits)] = flat[: len(bits)] & 0xFE | bits
    chosen[:] = columns.transpose(1, 0, 2)
    options = {"lossless": True, "exact": True} if image_format == "WEBP" else {}
    return encoded(Image.fromarray(pixels), image_format, **options)


def with_xmp(properties: str, image_format: str = "JPEG", head: str = "") -> bytes:
    """A file with an XMP packet; properties: the content of its rdf:Description."""
    packet = xmp_packet(properties, head)
    if image_format == "PNG":
        return png_with_text({"XML:com.adobe.xmp": packet.decode()})
    if image_format == "TIFF":
        return encoded(small_photo(), "TIFF", tiffinfo={700: packet})
    return encoded(small_photo(), image_format, xmp=packet)


def xmp_packet(properties: str, head: str = "") -> bytes:
    return f"""{head}<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dcterms="http://purl.org/dc/terms/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:exif="http://ns.adobe.com/exif/1.0/"
 xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/"
 xmlns:stEvt="http://ns.adobe.com/xap/1.0/sType/ResourceEvent#" xmlns:dc="http://purl.org/dc/elements/1.1/">
{properties}</rdf:Description></rdf:RDF></x:xmpmeta>""".encode()


def extended_xmp(packet: bytes, pieces: int = 1, name: bytes | None = None) -> list[bytes]:
    """The contents of JPEG segments with the pieces of an extended packet (XMP part 3, 1.1.3.1).

    name: what its pieces give as its MD5; the right one where not given.
    """
    name = name or hashlib.md5(packet, usedforsecurity=False).hexdigest().upper().encode()
    size = -(-len(packet) // pieces)
    return [
        b"http://ns.adobe.com/xmp/extension/\0"
        + name
        + struct.pack(">II", len(packet), start)
        + packet[start : start + size]
        for start in range(0, len(packet), size)
    ]


def with_segments(segments: list[bytes], marker: int = 0xE1, data: bytes | None = None) -> bytes:
    """A JPEG with these contents as segments of one kind."""
    data = data or encoded(small_photo(), "JPEG")
    made = b"".join(struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content for content in segments)
    return data[:2] + made + data[2:]


def gif_with_xmp(packet: bytes, *, in_blocks: bool = False) -> bytes:
    """A GIF with the application extension of XMP part 3, 1.1.2; in_blocks: cut like any other extension."""
    if in_blocks:
        pieces = [packet[start : start + 255] for start in range(0, len(packet), 255)]
        content = b"".join(bytes([len(piece)]) + piece for piece in pieces) + b"\0"
    else:
        content = packet + b"\x01" + bytes(range(255, -1, -1)) + b"\0"
    data = encoded(small_photo(), "GIF")
    head = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    return data[:head] + b"\x21\xff\x0bXMP DataXMP" + content + data[head:]


def heic_with_xmp_items(heic: bytes, packets: list[bytes]) -> bytes:
    """A HEIC of one item with further ones that hold XMP (ISO/IEC 14496-12, 8.11); no image refers to them."""
    names = b"\0application/rdf+xml\0"
    infos = [
        struct.pack(">I4sIHH4s", 20 + len(names), b"infe", 2 << 24, n + 2, 0, b"mime") + names
        for n in range(len(packets))
    ]
    grown = len(b"".join(infos)) + 18 * len(packets)
    at = heic.index(b"iloc") - 4
    size, count = struct.unpack_from(">I", heic, at)[0], 1 + len(packets)
    item = bytearray(heic[at + 16 : at + size])
    struct.pack_into(">I", item, 4, struct.unpack_from(">I", item, 4)[0] + grown)  # its place, which moves
    places, start = bytes(item), len(heic) + grown + 8
    for number, packet in enumerate(packets, start=2):
        places += struct.pack(">HHIHII", number, 0, 0, 1, start, len(packet))
        start += len(packet)
    locations = struct.pack(">I", size + 18 * len(packets)) + heic[at + 4 : at + 14] + struct.pack(">H", count) + places
    info_at = heic.index(b"iinf") - 4
    info_size = struct.unpack_from(">I", heic, info_at)[0]
    info = (
        struct.pack(">I", info_size + len(b"".join(infos)))
        + heic[info_at + 4 : info_at + 12]
        + struct.pack(">H", count)
    )
    info += heic[info_at + 14 : info_at + info_size] + b"".join(infos)
    meta = heic.index(b"meta") - 4
    data = (
        heic[:meta]
        + struct.pack(">I", struct.unpack_from(">I", heic, meta)[0] + grown)
        + heic[meta + 4 : at]
        + locations
    )
    data += heic[at + size : info_at] + info + heic[info_at + info_size :]
    return data + struct.pack(">I4s", 8 + sum(map(len, packets)), b"mdat") + b"".join(packets)


def raw_profile(name: str, content: bytes) -> str:
    """A block of metadata as ImageMagick writes it into a PNG's text."""
    digits = content.hex()
    lines = [digits[start : start + 72] for start in range(0, len(digits), 72)]
    return f"\n{name}\n{len(content):8}\n" + "\n".join(lines) + "\n"


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_with_chunks(*chunks: bytes, at_end: bool = False) -> bytes:
    """A PNG with these chunks before its pixels, or behind them."""
    data = encoded(small_photo(), "PNG")
    at = len(data) - 12 if at_end else 33
    return data[:at] + b"".join(chunks) + data[at:]


def exif_tiff(
    tags: dict[int, tuple[int, bytes]],
    *,
    order: str = "<",
    is_big: bool = False,
    photo: dict[int, tuple[int, bytes]] | None = None,
) -> bytes:
    """A block of EXIF data.

    tags: type and bytes of each value of the first directory, one item a byte. photo: those of the Exif directory.
    """
    offset_form, entry_form, width = ("Q", "HHQ", 8) if is_big else ("I", "HHI", 4)
    mark = b"II" if order == "<" else b"MM"
    head = mark + (struct.pack(order + "HHHQ", 43, 8, 0, 16) if is_big else struct.pack(order + "HI", 42, 8))

    def directory(start: int, entries: dict[int, tuple[int, bytes]]) -> bytes:
        count = struct.pack(order + ("Q" if is_big else "H"), len(entries))
        values_at = start + len(count) + (12 + 2 * (width - 4)) * len(entries) + width
        fixed, values = count, b""
        for tag, (kind, value) in sorted(entries.items()):
            fixed += struct.pack(order + entry_form, tag, kind, 1 if kind == 4 else len(value))
            if len(value) <= width:
                fixed += value.ljust(width, b"\0")
            else:
                fixed += struct.pack(order + offset_form, values_at + len(values))
                values += value + b"\0" * (len(value) % 2)
        return fixed + b"\0" * width + values

    first = dict(tags)
    if photo:
        first[0x8769] = (4, b"\0\0\0\0")
        second_at = len(head) + len(directory(len(head), first))
        first[0x8769] = (4, struct.pack(order + "I", second_at))
        return head + directory(len(head), first) + directory(second_at, photo)
    return head + directory(len(head), first)


def samsung_trailer(records: dict[str, bytes], kind: int = 0x0BA1) -> bytes:
    """What Samsung's phones append: the records, and a directory of them (ExifTool, Samsung.pm)."""
    blocks = [struct.pack("<HHI", 0, kind, len(name)) + name.encode() + content for name, content in records.items()]
    entries, behind = b"", 0
    for block in reversed(blocks):
        behind += len(block)
        entries = struct.pack("<HHII", 0, kind, behind, len(block)) + entries
    directory = b"SEFH" + struct.pack("<II", 107, len(blocks)) + entries
    return b"".join(blocks) + directory + struct.pack("<I", len(directory)) + b"SEFT"


def user_comment(text: str, order: str = "utf-16-be") -> bytes:
    return b"UNICODE\0" + text.encode(order)


def with_exif(first: dict[int, object], photo: dict[int, object] | None = None, image_format: str = "JPEG") -> bytes:
    """A file with these tags in the first directory and in that of the photo."""
    if image_format == "TIFF":
        directory = TiffImagePlugin.ImageFileDirectory_v2()
        for tag, value in first.items():
            directory[tag] = value
        directory[0x8769] = dict(photo or {})
        return encoded(small_photo(), "TIFF", tiffinfo=directory)
    exif = Image.Exif()
    for tag, value in first.items():
        exif[tag] = value
    if photo:
        exif[0x8769] = dict(photo)
    return encoded(small_photo(), image_format, exif=exif)


def phone_photo(thumbnail: Image.Image | None = None) -> bytes:
    """Like a phone's: maker, model, times, lens, position, and where asked for, a thumbnail."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0131], exif[0x0132] = "Example", "Phone 3", "3.1", "2025:05:04 10:11:12"
    exif.get_ifd(0x8769).update({0x9003: "2025:05:04 10:11:12", 0xA434: "Phone 3 back camera 4.2mm f/1.8"})
    exif.get_ifd(0x8769)[0x927C] = b"maker's own bytes"
    exif.get_ifd(0x8825).update({1: "N", 2: (43.0, 28.0, 2.81), 3: "W", 4: (11.0, 53.0, 6.46), 5: b"\0", 6: 120.5})
    photo = small_photo()
    if thumbnail is None:
        return encoded(photo, "JPEG", exif=exif)
    return encoded(photo, "JPEG", exif=append_thumbnail(exif.tobytes(), encoded(thumbnail, "JPEG")))


def append_thumbnail(block: bytes, thumbnail: bytes) -> bytes:
    """Pillow writes no second directory: puts one behind the block and points the first one's end to it."""
    tiff = bytearray(block[6:])
    order = "<" if tiff[:2] == b"II" else ">"
    (first,) = struct.unpack_from(order + "I", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, first)
    struct.pack_into(order + "I", tiff, first + 2 + 12 * count, len(tiff))
    start = len(tiff) + 2 + 2 * 12 + 4
    tiff += struct.pack(order + "H", 2)
    for tag, value in ((0x0201, start), (0x0202, len(thumbnail))):
        tiff += struct.pack(order + "HHII", tag, 4, 1, value)
    tiff += struct.pack(order + "I", 0) + thumbnail
    return b"Exif\0\0" + bytes(tiff)


def certificates(ocsp_url: str | None = None) -> tuple[str, str, str]:
    """Certificates of signer and authority, the signer's key, and the authority's certificate alone, all PEM.

    ES256, made out as C2PA 2.2, 14.5.1 asks of a signer.
    ocsp_url: where the signer's certificate says that its revocation is to be asked for.
    """
    return _certificates(ocsp_url)


@cache
def _certificates(ocsp_url: str | None) -> tuple[str, str, str]:
    now = datetime.datetime.now(datetime.UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [
        x509.Name(
            [
                x509.NameAttribute(NameOID.COUNTRY_NAME, "XX"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "ImageTrust Tests"),
                x509.NameAttribute(NameOID.COMMON_NAME, common),
            ]
        )
        for common in ("Test Signer", "Test Authority")
    ]

    def certificate(subject: int, usage: x509.KeyUsage, is_authority: bool) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(names[subject])
            .issuer_name(names[1])
            .public_key(keys[subject].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(keys[subject].public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[1].public_key()), critical=False)
        )
        if not is_authority:
            builder = builder.add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
            )
        if ocsp_url and not is_authority:
            access = x509.AccessDescription(
                AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(ocsp_url)
            )
            builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
        return builder.sign(keys[1], hashes.SHA256())

    nothing = dict.fromkeys(
        (
            "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
            "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
        ),
        False,
    )  # fmt: skip
    signer = certificate(0, x509.KeyUsage(**nothing | {"digital_signature": True}), False)
    authority = certificate(1, x509.KeyUsage(**nothing | {"key_cert_sign": True, "crl_sign": True}), True)
    pem = [one.public_bytes(serialization.Encoding.PEM).decode() for one in (signer, authority)]
    key = keys[0].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return "".join(pem), key.decode(), pem[1]


MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "TIFF": "image/tiff",
    "GIF": "image/gif",
    "AVIF": "image/avif",
    "HEIF": "image/heic",
}


def signed(source_type: str | None, image_format: str = "JPEG", **options) -> bytes:
    """A file with Content Credentials by the test signer; the options are those of sign."""
    return sign(source_type, image_format, **options)[0]


def sign(
    source_type: str | None,
    image_format: str = "JPEG",
    *,
    source: bytes | None = None,
    parent: bytes | None = None,
    placed: bytes | None = None,
    remote_url: str | None = None,
    ocsp_url: str | None = None,
    assertions: tuple[dict, ...] = (),
    action: dict | None = None,
    ingredient: dict | None = None,
) -> tuple[bytes, bytes]:
    """A file with Content Credentials by the test signer, and the manifest store by itself.

    source_type: of the action "created", None for a manifest without a word on the origin.
    source: the file to sign; parent, placed: JPEG files as ingredients that it was made from, or that were placed in.
    remote_url: the manifest is named in the XMP as kept there, instead of embedded.
    assertions: beside that of actions. action: instead of "created". ingredient: further members of the ingredients.
    """
    chain, key, _ = certificates(ocsp_url)
    agent = {"softwareAgent": {"name": "Test Program", "version": "1"}}
    first = {"action": "c2pa.created", **agent} | ({"digitalSourceType": source_type} if source_type else {})
    actions = [{"action": "c2pa.edited", **agent} | ({"digitalSourceType": source_type} if source_type else {})]
    definition = {
        "claim_generator_info": [{"name": "ImageTrust tests", "version": "1"}],
        "title": "test picture",
        "format": MEDIA_TYPES[image_format],
        "assertions": [
            {"label": "c2pa.actions", "data": {"actions": [action] if action else actions if parent else [first]}},
            *assertions,
        ],
    }
    settings = {
        "verify": {"remote_manifest_fetch": False, "verify_after_sign": False},
        "builder": {"thumbnail": {"enabled": False}},
    }
    info = c2pa.C2paSignerInfo(c2pa.C2paSigningAlg.ES256, chain.encode(), key.encode(), None)
    result = io.BytesIO()
    with (
        c2pa.Context.from_dict(settings) as context,
        c2pa.Signer.from_info(info) as signer,
        c2pa.Builder(json.dumps(definition), context=context) as builder,
    ):
        for relationship, content in (("parentOf", parent), ("componentOf", placed)):
            if content:
                described = {"title": f"{relationship} picture", "relationship": relationship} | (ingredient or {})
                builder.add_ingredient(json.dumps(described), "image/jpeg", io.BytesIO(content))
        if remote_url:
            builder.set_no_embed()
            builder.set_remote_url(remote_url)
        source = source or encoded(small_photo(), image_format)
        manifest_store = builder.sign(signer, MEDIA_TYPES[image_format], io.BytesIO(source), result)
    return result.getvalue(), manifest_store


def with_wider_exclusion(data: bytes, removed: int = 64) -> bytes:
    """A signed JPEG whose hash leaves out more than its manifest, as signers of 2023 wrote it; signature and hash hold.

    The signature's padding, which is not signed, is cut by so many bytes, and a comment takes their place.
    """
    start = data.index(b"\xff\xeb")
    length = int.from_bytes(data[start + 2 : start + 4], "big")
    end = start + 2 + length
    segment = bytearray(data[start:end])
    pad = segment.rindex(b"cpad") + 4
    assert segment[pad] == 0x59  # CBOR: bytes, their number in two bytes
    position = 12  # of the outermost box, behind the marker, the length and ISO 19566-5's head
    while position < pad:
        size, kind = struct.unpack_from(">I4s", segment, position)
        if position + size <= pad:
            position += size
            continue
        struct.pack_into(">I", segment, position, size - removed)
        position += 8
        if kind != b"jumb":
            break
    struct.pack_into(">H", segment, pad + 1, struct.unpack_from(">H", segment, pad + 1)[0] - removed)
    del segment[pad + 3 : pad + 3 + removed]
    struct.pack_into(">H", segment, 2, length - removed)
    comment = b"\xff\xfe" + struct.pack(">H", removed - 2) + b"c" * (removed - 4)
    return data[:start] + bytes(segment) + comment + data[end:]


def colour_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def with_iptc(fields: dict[int, bytes]) -> bytes:
    """A JPEG with these data sets of IPTC-IIM 4.2, record 2, in Photoshop's segment."""
    block = b"".join(struct.pack(">BBBH", 0x1C, 2, number, len(value)) + value for number, value in fields.items())
    padding = b"\0" * (len(block) % 2)
    content = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(block)) + block + padding
    return with_segments([content], 0xED)
