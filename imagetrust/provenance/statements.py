"""What the fields of EXIF, XMP, IPTC, PNG texts and comments say of the origin, by one order of evidence for all.

Captions, titles and keywords are free text: they say nothing, whatever they mention.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from imagetrust.provenance.finding import EVIDENCE, Evidence, Finding, Says
from imagetrust.provenance.vocabulary import (
    credit_says,
    game_named,
    generator_named,
    is_name,
    names_something,
    source_type_name,
    source_type_says,
    weightiest,
)

Role = Literal["source_type", "ai", "maker", "model", "program", "step", "origin", "credit", "caption", "comment"]

# What the fields of each source are for. Those that are not named are free text.
# step: the program of each step in the history. origin: what made the image, a device or a program.
# comment: a field in which programs leave what only programs read.
ROLES: Mapping[str, Mapping[Role, tuple[str, ...]]] = {
    "exif": {
        "maker": ("Make",),
        "model": ("Model",),
        # Behind EXIF 2's names stand those of Exif 3.0 (CIPA DC-008-2023) and Windows' own.
        "program": ("Software", "ProcessingSoftware", "RAWDevelopingSoftware", "ImageEditingSoftware",
                    "MetadataEditingSoftware"),
        "credit": ("Artist", "Photographer", "ImageEditor", "XPAuthor"),
        "caption": ("ImageDescription", "ImageTitle", "XPTitle", "XPSubject", "XPKeywords"),
        "comment": ("UserComment", "XPComment"),
    },
    "xmp": {
        # IPTC Photo Metadata Standard 2025.1; DigitalSourcefileType is the name in version 1.0 of the extension.
        "source_type": ("Iptc4xmpExt:DigitalSourceType", "Iptc4xmpExt:DigitalSourcefileType",
                        "Iptc4xmpExt:DigitalSourceFileType"),
        "ai": ("Iptc4xmpExt:AISystemUsed", "Iptc4xmpExt:AISystemVersionUsed", "Iptc4xmpExt:AIPromptInformation",
               "Iptc4xmpExt:AIPromptWriterName"),
        "maker": ("tiff:Make",),
        "model": ("tiff:Model",),
        "program": ("xmp:CreatorTool", "tiff:Software", "exifEX:RAWDevelopingSoftware",
                    "exifEX:ImageEditingSoftware", "exifEX:MetadataEditingSoftware"),
        "step": ("xmpMM:History/stEvt:softwareAgent",),
        "credit": ("photoshop:Credit", "dc:creator", "photoshop:Source", "exifEX:Photographer", "exifEX:ImageEditor"),
        "caption": ("dc:description", "dc:title", "tiff:ImageDescription", "exifEX:ImageTitle"),
        "comment": ("exif:UserComment",),
    },
    "iptc": {"program": ("program",), "credit": ("credit", "source", "byline"), "caption": ("caption",)},
    "png_text": {
        "program": ("Software", "Creation Software"),
        "origin": ("Source",),  # PNG 3, 11.3.3.2: the device; generators name themselves
        "credit": ("Author", "Comment"),
        "caption": ("Description",),
    },
    "jpeg_comment": {"credit": ("comments",)},
}  # fmt: skip
_NOUNS = {
    "exif": "EXIF data", "xmp": "XMP data", "iptc": "IPTC data", "png_text": "PNG's texts", "jpeg_comment": "comments",
}  # fmt: skip
PROGRAMS: tuple[Role, ...] = ("program", "step")
_DEVICE: tuple[Role, Role] = ("maker", "model")
_NO_TEXTS: tuple[Role, ...] = ("source_type",)
_MAX_COMMENT = 8192  # characters in which parameters name their model

# xAI's pair: a signature in base64 in the field for a caption, and the image's UUID in that for an artist. Programs
# that convert between formats carry it into the fields of the same meaning.
_XAI_SIGNATURE = re.compile(r"Signature:\s*[A-Za-z0-9+/]{64,}={0,2}\s*")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True)
class Statement:
    """What a source says, by which evidence, in one sentence; values: what it decoded beside the fields."""

    says: Says
    evidence: Evidence
    detail: str
    values: Mapping[str, object] = field(default_factory=dict)

    def finding(self, source: str, values: Mapping[str, object]) -> Finding:
        """Return the finding that makes this statement on top of a source's own values."""
        return Finding(source, self.says, self.detail, {**self.values, **values}, evidence=self.evidence)


def state(source: str, fields: Mapping[str, object], silence: str) -> Statement:
    """Return what the fields of a source say: the weightiest evidence among them decides.

    source: a key of ROLES. fields: texts, or lists of texts, by name. silence: the sentence where they say nothing.
    """
    by_role: dict[Role, list[str]] = {
        role: [text for name in names for text in _texts(fields.get(name))] for role, names in ROLES[source].items()
    }
    noun = _NOUNS[source]
    statements = [*_of_fields(noun, by_role), *_of_signatures(noun, by_role), *_of_devices(noun, by_role)]
    # min takes the first of equals: the rules are in the order in which they outweigh each other.
    return min(
        statements,
        key=lambda statement: EVIDENCE.index(statement.evidence),
        default=Statement("nothing", "text", silence),
    )


def texts_of(source: str, fields: Mapping[str, object]) -> dict[str, str]:
    """Return the fields in which programs leave labels and parameters, by where they stand: "exif:UserComment"."""
    named = [name for role, names in ROLES[source].items() if role not in _NO_TEXTS for name in names]
    return {f"{source}:{name}": text for name in named for text in _texts(fields.get(name))[:1]}


def camera_named(maker: str, model: str) -> str:
    """Return the camera that maker and model name; empty where they name none, or a generator or a game."""
    camera = _joined(maker, model)
    return "" if generator_named(camera) or game_named(camera) else camera


def _joined(maker: str, model: str) -> str:
    """Return the name of a device. Many models repeat their maker's name."""
    maker, model = (part if is_name(part) else "" for part in (maker.strip(), model.strip()))
    return model if model.lower().startswith(maker.lower()) else f"{maker} {model}".strip()


def _of_fields(noun: str, by_role: Mapping[Role, Sequence[str]]) -> Iterator[Statement]:
    source_types = by_role.get("source_type", [])
    says = weightiest([source_type_says(value) for value in source_types])
    told = [value for value in by_role.get("ai", []) if names_something(value)]
    # A source type is the more exact statement, unless it is of a program's work and leaves open what took part in it.
    if says not in ("nothing", "software") or (says == "software" and not told):
        named = next(source_type_name(value) for value in source_types if source_type_says(value) == says)
        yield Statement(says, "field", f"The {noun} give the source type {named}.")
    elif told:
        yield Statement("generated", "field", f"The {noun} tell which model or prompt made the picture: {told[0]}.")


def _of_signatures(noun: str, by_role: Mapping[Role, Sequence[str]]) -> Iterator[Statement]:
    captions, credits = by_role.get("caption", []), by_role.get("credit", [])
    if any(map(_XAI_SIGNATURE.fullmatch, captions)) and any(map(_UUID.fullmatch, credits)):
        detail = (
            f"The {noun} hold the signature and the identifier that xAI's Grok writes; the signature is not checked."
        )
        yield Statement("generated", "signature", detail, {"generator": "xAI Grok"})
    device = _joined(*(next(iter(by_role.get(role, [])), "") for role in _DEVICE))
    for text in (device, *by_role.get("program", []), *by_role.get("origin", []), *by_role.get("step", [])[:1]):
        if is_name(text) and (generator := generator_named(text)):
            yield Statement("generated", "signature", f"The {noun} name {generator}, a generator of pictures.")
    for generator in filter(None, map(generator_named, by_role.get("step", [])[1:])):
        yield Statement("edited_with_ai", "signature", f"The {noun} name {generator} in the picture's history.")
    for text in credits:
        says, is_sentence = credit_says(text)
        if says != "nothing":
            detail = f"The {noun} give the credit “{text}”."
            yield Statement(says, "signature" if is_sentence else "text", detail)


def _of_devices(noun: str, by_role: Mapping[Role, Sequence[str]]) -> Iterator[Statement]:
    maker, model = (next(iter(by_role.get(role, [])), "") for role in _DEVICE)
    # Pollinations writes the name of its model as the maker, beside its parameters.
    if is_name(maker) and any(_gives_model(text, maker) for text in by_role.get("comment", [])):
        maker = ""
    programs = [text for role in PROGRAMS for text in by_role.get(role, []) if is_name(text)]
    device = _joined(maker, model)
    if game := game_named(device):
        yield Statement("software", "device", f"The {noun} name {device}: a game or a console ({game}), no camera.")
    elif camera := camera_named(maker, model):
        saved = f" and the software {programs[0]}" if programs else ""
        yield Statement("camera", "device", f"The {noun} name the camera {camera}{saved}.")
    if programs:
        yield Statement("software", "text", f"The {noun} name the software {programs[0]}.")


def _gives_model(comment: str, name: str) -> bool:
    """Whether a comment is an object of parameters that gives their model this name."""
    comment = comment[:_MAX_COMMENT]
    return '"prompt"' in comment and bool(re.search(rf'"model"\s*:\s*"{re.escape(name)}"', comment))


def _texts(value: object) -> list[str]:
    values = value if isinstance(value, (list, tuple)) else [value]
    return [text for one in values if isinstance(one, str) and (text := one.strip("\0 \r\n\t"))]
