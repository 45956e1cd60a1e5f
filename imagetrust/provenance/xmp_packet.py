"""Where a file of any format keeps its XMP, and a reader of packets that forgives what programs get wrong."""

import hashlib
import re
import struct
from collections.abc import Iterator, Mapping
from typing import Protocol

from defusedxml.ElementTree import ParseError, XMLParser

from imagetrust.provenance.bounds import MAX_XMP_ELEMENTS, TooLarge
from imagetrust.provenance.items import xmp_items
from imagetrust.provenance.opened_file import OpenedFile
from imagetrust.provenance.png_texts import XMP_KEYWORD

_XMP_TAG = 0x02BC  # XMP part 3, 1.1.4: in a TIFF, and in EXIF data as Windows writes them
_JPEG_HEAD = b"http://ns.adobe.com/xap/1.0/"  # XMP part 3, 1.1.3
_EXTENSION_HEAD = b"http://ns.adobe.com/xmp/extension/\0"
_PACKET_STARTS = (b"<?xpacket", b"<x:xmpmeta", b"<x:xapmeta", b"<rdf:RDF")
_EXTENSION_NAME = re.compile(rb"HasExtendedXMP[^<]{0,256}?([0-9A-Fa-f]{32})")
_GIF_NAME = b"XMP DataXMP"
_GIF_MAGIC = b"\x01" + bytes(range(0xFF, 0xFF - 8, -1))  # the beginning of what closes a packet: XMP part 3, 1.1.2
_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")  # XMP part 3, 1.2.5: a box by itself
_WEBP_CHUNKS = (b"XMP ", b"XMP\0")  # some programs end the name with a zero

# How a packet begins in UTF-32 and UTF-16, in little endian and, from its second or fourth byte on, in big endian.
_WIDE = ((4, "utf-32", re.compile(rb"<\0\0\0[?xr]\0\0\0")), (2, "utf-16", re.compile(rb"<\0[?xr]\0")))
_MAX_HEAD = 256  # bytes in which a packet begins
_LATIN = {0xDC00 + byte: byte for byte in range(0x80, 0x100)}  # what Python makes of bytes that are no UTF-8
_PACKET_END = "<?xpacket end"
_PADDING = "\0\ufeff \r\n\t"
_XML_DECLARATION = re.compile(r"<\?xml\s[^>]{0,256}\?>")
_INSTRUCTION = re.compile(r"<\?[^>]{0,256}\?>")  # such as those around a packet
_BARE_AMPERSAND = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|#[0-9]{1,7}|#x[0-9a-fA-F]{1,6});)")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
_REFERENCED_CONTROLS = re.compile(r"&#(?:0*(?:[0-8]|1[124-9]|2[0-9]|3[01])|x0*(?:[0-8bcBC]|[efEF]|1[0-9a-fA-F]));")
_PREFIX = re.compile(r"[<\s/]([A-Za-z_][\w.-]{0,63}):[A-Za-z_]", re.ASCII)
_MAX_PREFIXES = 256
_UNDECLARED = "undeclared:"


def packets(file: OpenedFile, faults: list[str]) -> Iterator[bytes]:
    """Yield the packets of a file, in its order. What is not as it should be goes to the faults."""
    if segments := file.jpeg_segments("APP1"):
        yield from _jpeg_packets(segments, faults)
    elif file.header.format == "GIF":
        yield from _gif_packet(file)
    elif file.header.format == "PNG":
        if text := file.png_texts.by_keyword.get(XMP_KEYWORD):
            yield text.encode()
        yield from file.png_texts.profiles("xmp")
        yield from (profile for profile in file.png_texts.profiles("app1") if profile.startswith(_JPEG_HEAD))
    elif items := _items(file, faults):
        yield from items
    elif packet := file.header.info.get("xmp"):
        yield packet if isinstance(packet, bytes) else str(packet).encode()
    elif file.header.format == "WEBP":
        # Programs that sign append the chunk to files of the simple layout, where libwebp does not look for it.
        yield from (content for kind, content in file.boxes() if kind in _WEBP_CHUNKS)
    exif = None if file.is_tiff else file.readable_exif
    if exif and (packet := exif.raw(_XMP_TAG)):
        yield packet


def _items(file: OpenedFile, faults: list[str]) -> list[bytes]:
    """Return the XMP items of an AVIF or HEIC; none in other formats."""
    found: list[bytes] = []
    if file.header.format in ("AVIF", "HEIF"):
        for kind, content in file.boxes():
            try:
                found += (
                    xmp_items(file.data, content) if kind == b"meta" else [content[16:]] if kind == _XMP_UUID else []
                )
            except (ValueError, TooLarge) as error:
                faults.append(str(error))
    return found


def _jpeg_packets(segments: list[bytes], faults: list[str]) -> Iterator[bytes]:
    """XMP part 3, 1.1.3.1: the standard packet names the extended one by its MD5; its pieces come in any order."""
    standard = [segment for segment in segments if _is_packet(segment)]
    yield from standard
    pieces: dict[bytes, dict[int, bytes]] = {}
    lengths: dict[bytes, int] = {}
    for segment in segments:
        if segment.startswith(_EXTENSION_HEAD):
            rest = segment[len(_EXTENSION_HEAD) :]
            if len(rest) < 40:
                faults.append("a segment of the extended XMP is cut off")
                continue
            length, offset = struct.unpack_from(">II", rest, 32)
            pieces.setdefault(rest[:32].upper(), {})[offset] = rest[40:]
            lengths[rest[:32].upper()] = length
    named = {found.upper() for segment in standard for found in _EXTENSION_NAME.findall(segment)}
    for name, parts in pieces.items():
        whole = b"".join(parts[offset] for offset in sorted(parts))
        if len(whole) != lengths[name]:
            faults.append(f"the extended XMP has {len(whole)} of its {lengths[name]} bytes")
        elif hashlib.md5(whole, usedforsecurity=False).hexdigest().upper().encode() != name:
            faults.append("the extended XMP is not the one that its name says")
        elif name not in named:
            faults.append("the XMP does not name the extended XMP that the file holds")
        yield whole


def _is_packet(segment: bytes) -> bool:
    if segment.startswith(_JPEG_HEAD):
        return True
    return not segment.startswith((b"Exif\0", _EXTENSION_HEAD)) and any(
        start in segment[:256] for start in _PACKET_STARTS
    )


def _gif_packet(file: OpenedFile) -> Iterator[bytes]:
    """XMP part 3, 1.1.2: the packet stands there as it is, and what follows leads every reader of blocks to the end."""
    head = b"\x21\xff\x0b" + _GIF_NAME
    start = file.data.find(head) + len(head)
    if start < len(head):
        return
    end = file.data.find(_GIF_MAGIC, start)
    # Some programs cut it into blocks like any other extension.
    yield file.data[start:end] if end >= 0 else b"".join(file.gif_extension(_GIF_NAME))


def read_packet(packet: bytes, namespaces: Mapping[str, str], reader: "PacketReader") -> None:
    """Tell the reader each element of a packet, in its order.

    namespaces: prefix by URI, of those that a packet may use without declaring them. To others that it does not declare
    the reader finds the URI "undeclared:" and the prefix.

    What Adobe's XMP Toolkit forgives is forgiven (XMPCore, XMPMeta-Parse: Latin-1 in UTF-8, control characters), and
    also any encoding of Unicode without a mark, what stands before and behind the packet, prefixes that are not
    declared (Pixel phones), bare ampersands. Entities, DTDs and references to other files are refused.

    Raises ParseError on what is no XMP or breaks off and TooLarge beyond MAX_XMP_ELEMENTS, both after all that came
    before was told; defusedxml's exceptions.
    """
    content = _decoded(packet)
    if (end := content.rfind(_PACKET_END)) >= 0:
        content = content[:end]
    content = content.strip(_PADDING)
    if not _INSTRUCTION.sub("", content).strip(_PADDING):
        return
    content = content[max(0, content.find("<")) :]
    content = _REFERENCED_CONTROLS.sub(" ", _CONTROLS.sub(" ", _XML_DECLARATION.sub("", content)))
    content = _BARE_AMPERSAND.sub("&amp;", content)
    used = list(dict.fromkeys(_PREFIX.findall(content)))
    bound = {prefix: _UNDECLARED + prefix for prefix in used[:_MAX_PREFIXES] if not prefix.lower().startswith("xml")}
    bound |= {prefix: uri for uri, prefix in namespaces.items()}
    builder = _Builder(reader)
    parser = XMLParser(target=builder, forbid_dtd=True, forbid_entities=True, forbid_external=True)
    # Around the packet, an element that declares all prefixes; what the packet itself declares stands nearer.
    declared = "".join(f' xmlns:{prefix}="{uri}"' for prefix, uri in bound.items())
    parser.feed(f"<packet{declared}>")
    try:
        parser.feed(content)
        parser.feed("</packet>")
        parser.close()
    except ParseError:
        if builder.depth or not builder.elements:  # behind the end of a whole packet, anything may follow
            raise
    if not builder.elements:
        raise ParseError("it is no XMP")


class PacketReader(Protocol):
    """Is told of a packet's elements. Names are in Clark's notation: {URI}local."""

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        """Begin an element."""

    def data(self, text: str) -> None:
        """Take a piece of the text of the element that began or ended last."""

    def end(self, name: str) -> None:
        """End the element that began last and has not ended."""


class _Builder:
    """Counts the elements, and leaves out the one around them."""

    def __init__(self, reader: PacketReader) -> None:
        self._reader = reader
        self.depth = -1
        self.elements = -1

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        self.depth += 1
        self.elements += 1
        if self.elements > MAX_XMP_ELEMENTS:
            raise TooLarge(f"it has more than {MAX_XMP_ELEMENTS} elements")
        if self.depth:
            self._reader.start(name, attributes)

    def data(self, text: str) -> None:
        if self.depth > 0:
            self._reader.data(text)

    def end(self, name: str) -> None:
        if self.depth:
            self._reader.end(name)
        self.depth -= 1

    def close(self) -> None:
        """End of the packet."""


def _decoded(packet: bytes) -> str:
    packet = packet.removeprefix(_JPEG_HEAD + b"\0")
    for width, encoding, pattern in _WIDE:
        if found := pattern.search(packet, 0, _MAX_HEAD):
            before = found.start() % width
            order = "be" if before == width - 1 else "le"
            return packet[found.start() - before :].decode(f"{encoding}-{order}", errors="replace")
    try:
        return packet.decode()
    except UnicodeDecodeError:
        return packet.decode("utf-8", errors="surrogateescape").translate(_LATIN)
