"""The label that China's GB 45438-2025 asks of every generated image, wherever in a file it stands.

GB 45438-2025, 6.2 and annex E: an object under the name AIGC, in XMP as TC260:AIGC. Services write it into EXIF, PNG
texts and JPEG segments as well, plain, under its name, or glued to it.

ByteDance's apps write another object into EXIF texts: {"data": {"product": ..., "exportType": ..., "aigc_info": ...}}.
"""

import json
import re
from collections.abc import Iterator, Mapping
from itertools import chain

from imagetrust.provenance.bounds import MAX_PARAMETER_CHARACTERS, MAX_TEXT
from imagetrust.provenance.finding import NOTHING, Finding, Reading, Says
from imagetrust.provenance.opened_file import OpenedFile

_MEMBERS = (
    "Label", "ContentProducer", "ProduceID", "ReservedCode1", "ContentPropagator", "PropagateID", "ReservedCode2",
    "ServiceProvider", "ServiceUser",  # of Tencent Cloud, instead of producer and propagator
)  # fmt: skip
_BY_SPELLING = {name.lower(): name for name in _MEMBERS}  # some services begin them with a small letter
# Annex E: what Label means, and what it says here.
_LABELS: Mapping[str, tuple[str, Says]] = {
    "1": ("generated", "generated"),
    "2": ("possible", "possibly_generated"),
    "3": ("suspected", "possibly_generated"),
}
_DETAILS = {
    "generated": "The label of China's standard GB 45438-2025 states that the picture is generated",
    "possible": "The label of China's standard GB 45438-2025 states that the picture is possibly generated: "
    "its sender says so",
    "suspected": "The label of China's standard GB 45438-2025 states that the picture is suspected to be generated: "
    "a platform found signs of it",
}
_NAME = "AIGC"
_NAMED = re.compile(r"(?:^|[^\w])AIGC\W{0,8}(?=\{)")
_APP_MARKS = ("aigc_type", "aigc_label_type")
_SEGMENTS = tuple(f"APP{number}" for number in range(16))


def read_label(file: OpenedFile, texts: Mapping[str, str]) -> Reading:
    """One finding of the first label, in the texts of other sources, in a PNG's own chunk or a JPEG's segments.

    Where there is none, one of what an app of ByteDance says.
    """
    for place, text in chain(texts.items(), _blocks(file)):
        is_named = place.rpartition(":")[2].upper() == _NAME
        if label := _parsed(text, is_named=is_named):
            return Reading((_finding(place, label),))
    struct = {place.rpartition(":")[2]: text for place, text in texts.items() if "TC260:" in place}
    if label := _members(struct, is_named=True):
        return Reading((_finding("xmp:TC260:AIGC", label),))
    return next((Reading((found,)) for place, text in texts.items() if (found := _of_app(place, text))), NOTHING)


def _blocks(file: OpenedFile) -> Iterator[tuple[str, str]]:
    for kind, start, size in file.png_chunks:
        if kind.upper() == _NAME.encode() and size <= MAX_PARAMETER_CHARACTERS:
            yield f"png:{_NAME}", _decoded(file.data[start : start + size])
    for content in file.jpeg_segments(*_SEGMENTS):
        if content[:MAX_TEXT].lstrip(b"\0 ").startswith((b"AIGC", b'{"AIGC"')):
            yield f"jpeg:{_NAME}", _decoded(content)


def _decoded(content: bytes) -> str:
    return content.decode("utf-8", errors="replace").strip("\0 ")


def _parsed(text: str, *, is_named: bool) -> dict[str, str]:
    """Return the label's members that a text holds, is_named: in a field called AIGC; empty where it holds none."""
    if "{" not in text or len(text) > MAX_PARAMETER_CHARACTERS:
        return {}
    text = text.strip("\0 \r\n\t")
    named = _NAMED.search(text[:MAX_TEXT])
    value = _object(text, text.find("{")) if text.startswith("{") or is_named else None
    if isinstance(value, Mapping):
        inner = value.get(_NAME, value)
        if isinstance(inner, str):
            inner = _object(inner, 0)
        if isinstance(inner, Mapping) and (label := _members(inner, is_named=is_named or _NAME in value)):
            return label
    glued = _object(text, named.end()) if named else None
    return _members(glued, is_named=True) if isinstance(glued, Mapping) else {}


def _object(text: str, start: int) -> object:
    try:
        return json.JSONDecoder().raw_decode(text, max(start, 0))[0]
    except (ValueError, RecursionError):
        return None


def _members(value: Mapping[str, object], *, is_named: bool) -> dict[str, str]:
    """Return the members by their names in the standard. An object without the name AIGC needs two of them."""
    members = {
        _BY_SPELLING[str(name).lower()]: str(member)
        for name, member in value.items()
        if str(name).lower() in _BY_SPELLING and isinstance(member, (str, int, float))
    }
    return members if len(members) >= (1 if is_named else 2) else {}


def _of_app(place: str, text: str) -> Finding | None:
    """Return what the object of one of ByteDance's apps says of a model; None where it says nothing.

    product: the app. exportType "generation" of Dreamina: it made the picture. aigc_type 1 of Douyin, aigc_label_type 1
    (by the sender) or 2 (by the platform) in aigc_info: a model took part; 0 leaves it open.
    """
    if '"data"' not in text[:MAX_TEXT] or len(text) > MAX_PARAMETER_CHARACTERS:
        return None
    data = _inner(_object(text, text.find("{")), "data")
    if not isinstance(data, Mapping):
        return None
    product, export = str(data.get("product", "")), str(data.get("exportType", ""))
    info = _inner(data, "aigc_info")
    marks = {name: info.get(name) for name in _APP_MARKS} if isinstance(info, Mapping) else {}
    if product.lower().startswith("dreamina") and export.lower() == "generation":
        means, says = _LABELS["1"]
        detail = "ByteDance's Dreamina states that it generated the picture."
    elif marks.get("aigc_label_type") in (1, 2) or (marks.get("aigc_type") == 1 and product.lower() == "aweme"):
        means, says = _LABELS["2" if marks.get("aigc_label_type") != 2 else "3"]
        detail = "The label of an app by ByteDance states that a generative model made or changed the picture."
    else:
        return None
    members = {"product": product, "exportType": export} | {name: str(mark) for name, mark in marks.items()}
    values = {"label": means, "found_in": place, "members": {name: mark for name, mark in members.items() if mark}}
    return Finding("aigc_label", says, detail, values, evidence="field")


def _inner(value: object, name: str) -> object:
    """Return the member of an object, which may be an object itself or its text."""
    inner = value.get(name) if isinstance(value, Mapping) else None
    return _object(inner, 0) if isinstance(inner, str) else inner


def _finding(place: str, label: Mapping[str, str]) -> Finding:
    means, says = _LABELS.get(label.get("Label", "").strip(), ("undefined", "nothing"))
    by = next(
        (label[name] for name in ("ContentProducer", "ServiceProvider", "ContentPropagator") if label.get(name)), ""
    )
    detail = _DETAILS.get(
        means, "There is a label of China's standard GB 45438-2025, of a value that it does not define"
    )
    values = {"label": means, "found_in": place, "members": {name: text for name, text in label.items() if text}}
    return Finding("aigc_label", says, f"{detail}{f' (named: {by})' if by else ''}.", values, evidence="field")
