"""What Samsung's phones append to a picture: the capture's records, and the traces of their editor and its AI.

Layout after ExifTool (Samsung.pm, ProcessSamsung): behind all records lies a directory "SEFH" with their places counted
backwards from it, then the directory's length and "SEFT". In a HEIC, the box "sefd" holds the same.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from imagetrust.provenance.bounds import MAX_TRAILER_RECORDS, MAX_TRAILER_TEXT, check_size
from imagetrust.provenance.finding import NOTHING, Finding, Reading
from imagetrust.provenance.opened_file import OpenedFile

_HEAD, _TAIL = b"SEFH", b"SEFT"
_MAX_DIRECTORY = 0x10000  # bytes, as in ExifTool
_MAX_BEHIND = 0x10000  # bytes that other programs may have appended
_BOX = b"sefd"
_EDITOR_RECORDS = ("PhotoEditor_Re_Edit_Data", "PEg_Info")
# Members of the editor's JSON that are set once Galaxy AI made a part: a number or a name, and a truth value.
_AI_MEMBERS = ("genAIType", "isAIEdit")
_COUNTRY_RECORD = "MCC_Data"  # the mobile network's country code
_NO_TYPE = ("", "0", "-1", "false", "none", "null")


def read_samsung(file: OpenedFile) -> Reading:
    """One finding with the names of the records, and what the editor says of AI.

    Raises TooLarge on a record over the bound. A directory or a record that cannot be read is a fault.
    """
    data = _trailer(file)
    end = data.rfind(_TAIL, -_MAX_BEHIND)
    if end < 0 or data.find(_HEAD, max(0, end - _MAX_DIRECTORY)) < 0:
        return NOTHING
    faults: list[str] = []
    records = dict(_records(memoryview(data)[:end], faults))
    if not records:
        return Reading(faults=tuple(faults))
    marks: dict[str, object] = {}
    for name in _EDITOR_RECORDS:
        if name in records:
            try:
                marks |= _marks(records[name])
            except (ValueError, RecursionError):
                faults.append(f"the record {name} is no JSON")
    values: dict[str, object] = {"records": list(records)} | marks
    if _COUNTRY_RECORD in records:
        values["country_code"] = bytes(records[_COUNTRY_RECORD][:16])
    edited = any(str(value).strip().lower() not in _NO_TYPE for value in marks.values())
    if edited:
        detail = "The Samsung editor's data say that Galaxy AI changed the picture."
    else:
        detail = f"A Samsung phone appended {len(records)} records to the file."
    return Reading(
        (Finding("samsung_trailer", "edited_with_ai" if edited else "nothing", detail, values, evidence="field"),),
        faults=tuple(faults),
    )


def _trailer(file: OpenedFile) -> bytes:
    """Return what ends with the trailer: the box of a HEIC, or the file."""
    if file.header.format == "HEIF":
        return next((content for kind, content in file.boxes() if kind == _BOX), b"")
    return file.data


def _records(data: memoryview, faults: list[str]) -> Iterator[tuple[str, memoryview]]:
    """Name and content of each record; data: all that stands before "SEFT"."""
    length = struct.unpack_from("<I", data, len(data) - 4)[0] if len(data) >= 4 else 0
    start = len(data) - 4 - length
    if not 12 <= length < _MAX_DIRECTORY or start < 0 or data[start : start + 4] != _HEAD:
        faults.append("the directory of the trailer cannot be found")
        return
    (count,) = struct.unpack_from("<I", data, start + 8)
    check_size(count, MAX_TRAILER_RECORDS, "records")
    for number in range(count):
        entry = start + 12 + 12 * number
        if entry + 12 > start + length:
            faults.append(f"the directory of the trailer holds {number} of {count} records")
            return
        kind, back, size = struct.unpack_from("<2xHII", data, entry)
        record = data[start - back : start - back + size] if 8 <= size <= back <= start else b""
        name_size = struct.unpack_from("<I", record, 4)[0] if record else size
        if 8 + name_size > size:
            faults.append(f"the record 0x{kind:04x} lies outside the trailer")
            continue
        yield bytes(record[8 : 8 + name_size]).decode("latin-1"), memoryview(record)[8 + name_size :]


def _marks(content: memoryview) -> dict[str, object]:
    """Return the members that speak of AI; the editor nests objects as texts, one deep. ValueError on no JSON."""
    check_size(len(content), MAX_TRAILER_TEXT)
    record = json.loads(bytes(content).decode("utf-8", errors="replace").strip("\0 \r\n"))
    found: dict[str, object] = {}
    if isinstance(record, dict):
        for data in (record, *map(_nested, record.values())):
            found |= {name: data[name] for name in _AI_MEMBERS if name in data}
    return found


def _nested(value: object) -> Mapping[str, Any]:
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except ValueError:  # a text that only looks like an object
            return {}
    return value if isinstance(value, dict) else {}
