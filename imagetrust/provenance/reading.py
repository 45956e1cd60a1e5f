"""Puts together what every source in a file declares, each kept from harming the others, and bounds the whole."""

import warnings
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from imagetrust.provenance.aigc_label import read_label
from imagetrust.provenance.bounds import MAX_FINDINGS, Answer
from imagetrust.provenance.content_credentials import read_content_credentials
from imagetrust.provenance.dimensions import read_dimensions
from imagetrust.provenance.exif import read_exif
from imagetrust.provenance.finding import NOTHING, Finding, Reading
from imagetrust.provenance.generation import read_generation_parameters
from imagetrust.provenance.icc import read_icc
from imagetrust.provenance.iptc import read_iptc
from imagetrust.provenance.manifest_hosts import Origin
from imagetrust.provenance.opened_file import DecodedImage, OpenedFile
from imagetrust.provenance.places import mask_places, withhold_places
from imagetrust.provenance.quantisation import read_quantisation
from imagetrust.provenance.samsung import read_samsung
from imagetrust.provenance.stealth import read_hidden_texts
from imagetrust.provenance.texts import read_comments, read_png_text
from imagetrust.provenance.thumbnail import read_thumbnail
from imagetrust.provenance.xmp import read_xmp

# In the order of the answer, after Content Credentials, labels and parameters, which need the texts of these.
_READERS: Mapping[str, Callable[[OpenedFile], Reading]] = {
    "exif": read_exif,
    "xmp": read_xmp,
    "iptc": read_iptc,
    "png_text": read_png_text,
    "jpeg_comment": read_comments,
    "samsung_trailer": read_samsung,
    "icc": read_icc,
    "thumbnail": read_thumbnail,
    "jpeg_quantisation": read_quantisation,
    "dimensions": read_dimensions,
}


def read_declarations(
    data: bytes,
    decoded: DecodedImage,
    *,
    include_places: bool = False,
    trust_anchors: str | None = None,
    manifest_hosts: Collection[Origin] = (),
) -> dict[str, Any]:
    """Return what a file declares: {"findings": [...], "unreadable": [...]}, bounded JSON as answer.schema.json has it.

    data: the file; decoded: what the decoder made of it.
    include_places: also where it was taken, which is withheld from every source otherwise.
    trust_anchors: certificates, PEM, of the authorities that vouch for signers of Content Credentials.
    manifest_hosts: where Content Credentials that the file does not hold may be fetched from.

    Raises nothing on any file that decodes: a source that cannot be read is named under "unreadable", with the reason.
    Opens no connection but to manifest_hosts, and that one within MAX_FETCH_SECONDS.
    """
    findings, faults = _read(data, decoded, trust_anchors, manifest_hosts)
    notes = {source: "; ".join(dict.fromkeys(found)) for source, found in faults.items()}
    if not include_places:
        findings = withhold_places(findings)
        notes = {source: mask_places(note) for source, note in notes.items()}
    return _answer(findings, notes)


def _read(
    data: bytes,
    decoded: DecodedImage,
    trust_anchors: str | None,
    manifest_hosts: Collection[Origin],
) -> tuple[list[Finding], dict[str, list[str]]]:
    """Return the findings and, by source, what is there and cannot be read."""
    findings: list[Finding] = []
    faults: dict[str, list[str]] = {}
    texts: dict[str, str] = {}

    def attempt(source: str, read: Callable[[], Any]) -> Any:
        try:
            reading = read()
        except Exception as error:  # parsers raise whatever their authors chose; none of it is the caller's fault
            faults[source] = [f"{type(error).__name__.lstrip('_')}: {error}"]
            return NOTHING
        if isinstance(reading, Reading) and reading.faults:
            faults[source] = list(reading.faults)
        return reading

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata, once a file
        file = attempt("header", lambda: OpenedFile.open(data, decoded))
        if not isinstance(file, OpenedFile):
            return findings, faults
        for source, read in _READERS.items():
            reading = attempt(source, partial(read, file))
            findings += reading.findings
            texts |= reading.texts
        provenance = texts.get("xmp:dcterms:provenance")
        first = attempt(
            "c2pa", lambda: read_content_credentials(file, provenance, trust_anchors, manifest_hosts)
        ).findings
        texts |= attempt("stealth", partial(read_hidden_texts, file)).texts
        first += attempt("aigc_label", lambda: read_label(file, texts)).findings
        first += attempt("generation_parameters", lambda: read_generation_parameters(texts)).findings
    return [*first, *findings], faults


def _answer(findings: list[Finding], notes: Mapping[str, str]) -> dict[str, Any]:
    answer = Answer()
    answered = []
    for finding in findings[:MAX_FINDINGS]:
        answer.cut = False
        answered.append(
            {
                "source": finding.source,
                "strength": finding.strength,
                "says": finding.says,
                "detail": answer.text(finding.detail),
                "values": answer.json(finding.values),
            }
            | ({"evidence": finding.evidence} if finding.says != "nothing" else {})
            | ({"truncated": True} if answer.cut else {})
        )
    return {
        "findings": answered,
        "unreadable": [{"source": source, "unreadable": answer.text(note)} for source, note in notes.items()],
    }
