"""XMP: the properties of its RDF, read with entities, DTDs and references to other files refused."""

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from defusedxml import ElementTree

from imagetrust.provenance.bounds import MAX_VALUES, MAX_XMP_BYTES, check_size
from imagetrust.provenance.finding import NOTHING, Finding, Reading
from imagetrust.provenance.opened_file import OpenedFile
from imagetrust.provenance.statements import ROLES, state
from imagetrust.provenance.vocabulary import source_type_name

_PREFIXES = {
    "http://ns.adobe.com/xap/1.0/": "xmp",
    "http://ns.adobe.com/xap/1.0/mm/": "xmpMM",
    "http://ns.adobe.com/xap/1.0/rights/": "xmpRights",
    "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#": "stEvt",
    "http://ns.adobe.com/xap/1.0/sType/ResourceRef#": "stRef",
    "http://ns.adobe.com/exif/1.0/": "exif",
    "http://ns.adobe.com/exif/1.0/aux/": "aux",
    "http://cipa.jp/exif/1.0/": "exifEX",
    "http://ns.adobe.com/tiff/1.0/": "tiff",
    "http://ns.adobe.com/photoshop/1.0/": "photoshop",
    "http://ns.adobe.com/camera-raw-settings/1.0/": "crs",
    "http://purl.org/dc/elements/1.1/": "dc",
    "http://purl.org/dc/terms/": "dcterms",
    "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/": "Iptc4xmpCore",
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/": "Iptc4xmpExt",
    "http://ns.useplus.org/ldf/xmp/1.0/": "plus",
    "http://ns.google.com/photos/1.0/camera/": "GCamera",
    "http://www.tc260.org.cn/ns/AIGC/1.0/": "TC260",  # GB 45438-2025, 6.2
}
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_PROVENANCE = "dcterms:provenance"
_TEXTS = ("exif:UserComment", "dc:description", _PROVENANCE)
_LABEL = re.compile(r"\bTC260:|:AIGC\b")

_MAX_PROPERTIES = 4 * MAX_VALUES  # enough for what is called out to be among them


def read_xmp(file: OpenedFile) -> Reading:
    """One finding with the properties, the source type decoded, and the texts that others look into.

    Raises TooLarge, defusedxml's exceptions or ParseError on what is not to be parsed.
    """
    packet = _packet(file)
    if not packet:
        return NOTHING
    check_size(len(packet), MAX_XMP_BYTES)
    properties: dict[str, list[str]] = {}
    root = ElementTree.fromstring(packet, forbid_dtd=True, forbid_entities=True, forbid_external=True)
    for count, (name, value) in enumerate(_properties(root)):
        if count == _MAX_PROPERTIES:
            break
        properties.setdefault(name, []).append(value)
    texts = {f"xmp:{name}": found[0] for name, found in properties.items() if name in _TEXTS or _LABEL.search(name)}
    return Reading((_finding(properties),), texts)


def _finding(properties: dict[str, list[str]]) -> Finding:
    roles = ROLES["xmp"]
    source_types = [source_type_name(value) for name in roles["source_type"] for value in properties.get(name, [])]
    values: dict[str, object] = {
        "source_types": source_types,
        "programs": list(dict.fromkeys(value for name in roles["program"] for value in properties.get(name, []))),
        "properties": {name: found[0] if len(found) == 1 else found for name, found in properties.items()},
    }
    statement = state("xmp", properties, "The XMP data name neither a source type nor a camera nor a program.")
    return statement.finding("xmp", {name: value for name, value in values.items() if value})


def _packet(file: OpenedFile) -> bytes:
    info = file.header.info
    packet = info.get("xmp") or info.get("XML:com.adobe.xmp")
    if not packet and file.header.format == "WEBP":
        # Programs that sign append the chunk to files of the simple layout, where libwebp does not look for it.
        packet = next((content for kind, content in file.boxes() if kind == b"XMP "), b"")
    if isinstance(packet, str):
        packet = packet.encode()
    return packet.strip(b"\0 \r\n\t") if isinstance(packet, bytes) else b""


def _properties(root: Element) -> Iterator[tuple[str, str]]:
    """Name and text of each property, in document order, structures as "outer/inner".

    A loop over a stack, since the nesting of a file is not to decide the depth of our calls.
    """
    stack: list[tuple[Element, str]] = [(root, "")]
    while stack:
        element, path = stack.pop()
        name = _name(element.tag)
        if name:
            path = f"{path}/{name}" if path else name
        for attribute, value in element.items():
            if attribute == f"{{{_RDF}}}resource" and path:
                yield path, value
            elif inner := _name(attribute):
                yield (f"{path}/{inner}" if path else inner), value
        if path and element.text and element.text.strip():
            yield path, element.text.strip()
        # Paths of a nesting that no schema has would grow with the square of the depth.
        if path.count("/") < 4:
            stack.extend((child, path) for child in reversed(element))


def _name(tag: object) -> str:
    """Return the name with its usual prefix; empty for RDF's elements and XML's attributes, which are none."""
    if not isinstance(tag, str) or not tag.startswith("{"):
        return ""
    space, _, local = tag[1:].partition("}")
    if space in (_RDF, "adobe:ns:meta/", "http://www.w3.org/XML/1998/namespace"):
        return ""
    return f"{_PREFIXES.get(space, 'other')}:{local}"
