"""XMP: the properties of its RDF, read with entities, DTDs and references to other files refused."""

import re
from collections.abc import Mapping
from functools import lru_cache

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import ParseError

from imagetrust.provenance.bounds import MAX_VALUES, MAX_XMP_BYTES, MAX_XMP_PACKETS, TooLarge, check_size
from imagetrust.provenance.finding import Finding, Reading
from imagetrust.provenance.opened_file import OpenedFile
from imagetrust.provenance.statements import PROGRAMS, ROLES, state, texts_of
from imagetrust.provenance.vocabulary import source_type_name
from imagetrust.provenance.xmp_packet import packets, read_packet

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
    "http://ns.adobe.com/xmp/note/": "xmpNote",
    "http://www.tc260.org.cn/ns/AIGC/1.0/": "TC260",  # GB 45438-2025, 6.2
}
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_NO_NAMES = (_RDF, "adobe:ns:meta/", "http://www.w3.org/XML/1998/namespace")
_PROVENANCE = "dcterms:provenance"
_LABEL = re.compile(r"\bTC260:|:AIGC\b")

_MAX_NESTING = 4
_MAX_PROPERTIES = 4 * MAX_VALUES  # enough for what is called out to be among them


def read_xmp(file: OpenedFile) -> Reading:
    """One finding with the properties of all packets, the source type decoded, and the texts that others look into.

    Raises ValueError where a carrier of XMP is broken; a packet that is broken is a fault beside what could be read.
    """
    faults: list[str] = []
    collected = _Properties()
    total = 0
    for count, packet in enumerate(dict.fromkeys(packets(file, faults)), start=1):
        total += len(packet)
        try:
            check_size(count, MAX_XMP_PACKETS, "packets")
            check_size(total, MAX_XMP_BYTES)
            read_packet(packet, _PREFIXES | {_RDF: "rdf", "adobe:ns:meta/": "x"}, collected)
        except (ParseError, DefusedXmlException, TooLarge) as error:
            faults.append(f"{type(error).__name__}: {error}")
        collected.leave()
    properties = collected.properties
    told = {f"xmp:{name}": found[0] for name, found in properties.items() if name == _PROVENANCE or _LABEL.search(name)}
    texts = told | texts_of("xmp", properties)
    return Reading((_finding(properties),) if collected.elements else (), texts, tuple(faults))


def _finding(properties: dict[str, list[str]]) -> Finding:
    roles = ROLES["xmp"]
    source_types = [source_type_name(value) for name in roles["source_type"] for value in properties.get(name, [])]
    programs = [value for role in PROGRAMS for name in roles[role] for value in properties.get(name, [])]
    values: dict[str, object] = {
        "source_types": source_types,
        "programs": list(dict.fromkeys(programs)),
        "properties": {name: found[0] if len(found) == 1 else found for name, found in properties.items()},
    }
    statement = state("xmp", properties, "The XMP data name neither a source type nor a camera nor a program.")
    return statement.finding("xmp", {name: value for name, value in values.items() if value})


class _Properties:
    """Collects name and text of each property, in document order, structures as "outer/inner"."""

    def __init__(self) -> None:
        self.properties: dict[str, list[str]] = {}
        self.elements = 0
        self._count = 0
        self._paths: list[str] = []
        self._text: list[str] = []

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        """Take the attributes, which are properties too."""
        self._take_text()
        self.elements += 1
        path = self._joined(_name(name))
        self._paths.append(path)
        for attribute, value in attributes.items():
            if attribute == f"{{{_RDF}}}resource" and path:
                self._take(path, value)
            elif inner := _name(attribute):
                self._take(self._joined(inner), value)

    def data(self, text: str) -> None:
        """Take a piece of text."""
        self._text.append(text)

    def end(self, name: str) -> None:
        """Take the text that the element began with."""
        self._take_text()
        self._paths.pop()

    def leave(self) -> None:
        """Forget the elements that a packet began and did not end."""
        self._take_text()
        self._paths.clear()

    def _joined(self, name: str) -> str:
        outer = self._paths[-1] if self._paths else ""
        # Paths of a nesting that no schema has would grow with the square of the depth.
        return f"{outer}/{name}" if outer and name and outer.count("/") < _MAX_NESTING else outer or name

    def _take_text(self) -> None:
        text = "".join(self._text).strip()
        self._text.clear()
        if text and self._paths and self._paths[-1]:
            self._take(self._paths[-1], text)

    def _take(self, path: str, value: str) -> None:
        self._count += 1
        if self._count <= _MAX_PROPERTIES:
            self.properties.setdefault(path, []).append(value)


@lru_cache(maxsize=1024)
def _name(tag: str) -> str:
    """Return the name with its usual prefix; empty for RDF's elements and XML's attributes, which are none."""
    if not tag.startswith("{"):
        return ""
    space, _, local = tag[1:].partition("}")
    if space in _NO_NAMES:
        return ""
    return f"{_PREFIXES.get(space, 'other')}:{local}"
