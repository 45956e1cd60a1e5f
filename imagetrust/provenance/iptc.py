"""IPTC-IIM: the caption block that image agencies and older programs write."""

from PIL import IptcImagePlugin

from imagetrust.provenance.finding import NOTHING, Reading
from imagetrust.provenance.opened_file import OpenedFile
from imagetrust.provenance.statements import state

# IPTC-NAA Information Interchange Model 4.2, record 2, by data set.
_NAMES = {
    5: "title",
    7: "edit_status",
    15: "category",
    25: "keywords",
    26: "location_code",
    27: "location",
    40: "special_instructions",
    55: "created",
    60: "time_created",
    62: "digitised",
    65: "program",
    70: "program_version",
    80: "byline",
    85: "byline_title",
    90: "city",
    92: "sublocation",
    95: "state",
    101: "country",
    103: "job",
    105: "headline",
    110: "credit",
    115: "source",
    116: "copyright",
    118: "contact",
    120: "caption",
    122: "caption_writer",
}


def read_iptc(file: OpenedFile) -> Reading:
    """One finding with the fields by name. The standard's DigitalSourceType stands in XMP, not here."""
    records = IptcImagePlugin.getiptcinfo(file.header)
    if not records:
        return NOTHING
    encoding = "utf-8" if records.get((1, 90)) == b"\x1b%G" else None
    values = {
        _NAMES[dataset]: _text(value, encoding)
        for (record, dataset), value in sorted(records.items())
        if record == 2 and dataset in _NAMES
    }
    if not values:
        return NOTHING
    statement = state("iptc", values, "The IPTC data name no program.")
    texts = {"iptc:caption": caption} if isinstance(caption := values.get("caption"), str) else {}
    return Reading((statement.finding("iptc", values),), texts)


def _text(value: object, encoding: str | None) -> object:
    if isinstance(value, list):
        return [_text(item, encoding) for item in value]
    if not isinstance(value, bytes):
        return str(value)
    if encoding:
        return value.decode(encoding, errors="replace")
    try:
        return value.decode("utf-8")  # many programs write it without declaring it
    except UnicodeDecodeError:
        return value.decode("latin-1")
