"""One sentence on how what the file declares and what the pixels say go together."""

from collections.abc import Mapping
from typing import Any

from imagetrust.provenance.finding import EVIDENCE

_TRUST = ("signed_valid", "signed_untrusted", "unsigned", "signed_broken")
_WEIGHT = ("generated", "edited_with_ai", "possibly_generated", "camera", "software")
_DECLARED = {
    "generated": "that it was made by a generative model",
    "edited_with_ai": "that a part of it comes from a generative model",
    "possibly_generated": "that it may have been made by a generative model",
    "camera": "that a camera took it",
    "software": "only which program made or saved it",
}
_BASIS = {
    "signed_valid": "signed by a trusted signer",
    "signed_untrusted": "signed, by a signer who is on no trust list here",
    "unsigned": "in text that anyone can write",
    "signed_broken": "in credentials that no longer hold",
}
# Sources that state an origin. An unreadable one may hold another statement than what was read.
_UNREADABLE = {
    "c2pa": "Content Credentials",
    "exif": "EXIF data",
    "xmp": "XMP data",
    "iptc": "IPTC data",
    "png_text": "texts of a PNG",
    "jpeg_comment": "a comment",
    "samsung_trailer": "data of a Samsung phone",
    "aigc_label": "a label of generated content",
    "generation_parameters": "generation parameters",
    "stealth": "parameters hidden in its pixels",
    "header": "metadata",
}
_PIXELS = {
    "real": "the pixels look like a photograph",
    "uncertain": "the pixels do not decide it",
    "generated": "the pixels look generated",
}


def summarise(declared: Mapping[str, Any], verdict: str) -> str:
    """How the declaration (of read_declarations) and the verdict ("real", "uncertain" or "generated") agree.

    Of several statements the one on a camera or a generative model counts, by who vouches for it, then by its evidence,
    and then by what it says. Declaration and verdict are only compared: neither changes the other.
    """
    statements = [finding for finding in declared["findings"] if finding["says"] != "nothing"]
    pixels = _PIXELS[verdict]
    unreadable = [_UNREADABLE[note["source"]] for note in declared["unreadable"] if note["source"] in _UNREADABLE]
    carries = f"carries {' and '.join(unreadable)} that cannot be read in full"
    if not statements and unreadable:
        return f"The file {carries}, so that what it declares about its origin is not known; {pixels}."
    if not statements:
        return f"The file declares nothing about its origin, which proves nothing either way; {pixels}."
    weightiest = min(
        statements,
        key=lambda finding: (
            finding["says"] == "software",
            _TRUST.index(finding["strength"]),
            EVIDENCE.index(finding.get("evidence", "text")),
            _WEIGHT.index(finding["says"]),
        ),
    )
    says, strength = weightiest["says"], weightiest["strength"]
    sentence = (
        f"The file declares {_DECLARED[says]} ({_BASIS[strength]}); {pixels}, {_relation(says, strength, verdict)}"
    )
    if {"camera", "generated"} <= {finding["says"] for finding in statements}:
        sentence += ", and the file contradicts itself"
    if strength != "signed_broken" and any(finding["strength"] == "signed_broken" for finding in declared["findings"]):
        sentence += "; its Content Credentials no longer hold"
    if unreadable:
        sentence += f"; it also {carries} and may declare something else"
    return sentence + "."


def _relation(says: str, strength: str, verdict: str) -> str:
    if says == "software":
        return "which this neither confirms nor contradicts"
    if strength == "signed_broken":
        return "which a declaration that does not hold neither confirms nor contradicts"
    if verdict == "uncertain":
        return "so the declaration stands alone"
    if says == "edited_with_ai":
        return "and the two agree" if verdict == "generated" else "as they would where only a small part was changed"
    if says == "possibly_generated" and verdict == "real":
        return "which speaks against it"
    return "and the two agree" if (says == "camera") == (verdict == "real") else "and the two contradict each other"
