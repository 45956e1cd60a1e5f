"""The words with which files state an origin: the IPTC's source types, and the names of generators."""

import re

from imagetrust.provenance.finding import Says

# IPTC NewsCodes "Digital Source Type", http://cv.iptc.org/newscodes/digitalsourcetype/ (2025-05, retired ones
# included), and the two types that C2PA adds (C2PA 2.2, 18.15.2). A type that does not speak of a generative model
# is not read as one: algorithmicMedia is a fractal, compositeSynthetic may hold plain computer graphics.
_SOURCE_TYPES: dict[str, Says] = {
    "trainedAlgorithmicMedia": "generated",
    "trainedAlgorithmicData": "generated",
    "compositeWithTrainedAlgorithmicMedia": "edited_with_ai",
    "digitalCapture": "camera",
    "computationalCapture": "camera",
    "compositeCapture": "camera",
    "negativeFilm": "camera",
    "positiveFilm": "camera",
    "print": "camera",
    "humanEdits": "software",
    "minorHumanEdits": "software",
    "algorithmicallyEnhanced": "software",
    "algorithmicMedia": "software",
    "composite": "software",
    "compositeSynthetic": "software",
    "dataDrivenMedia": "software",
    "digitalArt": "software",
    "digitalCreation": "software",
    "screenCapture": "software",
    "softwareImage": "software",
    "virtualRecording": "software",
    "empty": "nothing",
}

# Names that programs and services write of themselves into a field for a name. Whole words only, and none that is also
# the name of a camera or an editor, or a common word ("imagen" is Spanish for image).
_GENERATORS = re.compile(
    r"\b(?:adobe firefly|bing image creator|comfyui|dall[-·. ]?e(?: ?[23])?|draw things|dreamstudio|easy ?diffusion"
    r"|fooocus|google imagen|gpt-image(?:-[\d.]+)?|gpt-4o|image creator from designer|imagen [2-9]|invokeai"
    r"|leonardo\.ai|made with google ai|midjourney|novelai|stable ?diffusion|stability ?ai|swarmui)\b",
    re.IGNORECASE,
)
_BY_WEIGHT: tuple[Says, ...] = ("generated", "edited_with_ai", "camera", "software", "nothing")


def source_type_name(value: str) -> str:
    """Return the last part of a source type's URI; a bare name stays as it is."""
    return value.strip().rstrip("/").rpartition("/")[2]


def source_type_says(value: str) -> Says:
    """Return what a digital source type, URI or bare name, says; "nothing" for an unknown one."""
    return _SOURCE_TYPES.get(source_type_name(value), "nothing")


def generator_named(text: str) -> str | None:
    """Return the generator that a field for a program's or service's name names, or None."""
    found = _GENERATORS.search(text[:1024])
    return found.group() if found else None


def weightiest(statements: list[Says]) -> Says:
    """Return the statement that decides where several are made; "nothing" where there is none."""
    return min(statements, key=_BY_WEIGHT.index, default="nothing")
