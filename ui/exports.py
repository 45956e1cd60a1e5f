"""Results as files: a table as CSV, whole answers as JSON."""

import json
from collections.abc import Iterable

from ui.checking import Checked, as_record
from ui.words import declares

HEADER = (
    "name", "verdict", "probability_generated", "family", "family_probability", "declares", "summary", "format", "width",
    "height", "bytes", "model", "error",
)  # fmt: skip
# What spreadsheets take for the beginning of a formula (OWASP, "CSV Injection"), full-width forms included.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def csv(results: Iterable[Checked]) -> str:
    """Return a table with one row a picture (RFC 4180), with a mark for spreadsheets that it is UTF-8."""
    return "\ufeff" + csv_line(HEADER) + "".join(csv_line(cells(checked)) for checked in results)


def cells(checked: Checked) -> tuple[object, ...]:
    """Return a result's cells, in the order of HEADER."""
    answer = checked.answer
    if answer is None:
        assert checked.fault is not None
        return (checked.name, *[""] * (len(HEADER) - 2), f"{checked.fault.title}. {checked.fault.advice}")
    verdict, generator, file = answer.inferred.authenticity, answer.inferred.generator_type, answer.file
    return (
        checked.name, verdict.verdict, verdict.probability_generated, generator.family, generator.confidence,
        declares(answer), answer.summary, file.format, file.width, file.height, file.bytes, verdict.model.version, "",
    )  # fmt: skip


def csv_line(values: Iterable[object]) -> str:
    """Return one line of a table. A text that a spreadsheet would run as a formula gets an apostrophe before it."""
    return ",".join(_cell(value) for value in values) + "\r\n"


def _cell(value: object) -> str:
    if not isinstance(value, str):
        return str(value)
    # Spaces before it do not stop a spreadsheet, nor does a quotation mark.
    is_formula = value.lstrip(" \"'\u00a0").startswith(_FORMULA) or value.startswith(_FORMULA)
    return '"' + ("'" * is_formula + value).replace('"', '""') + '"'


def as_json(results: Iterable[Checked]) -> str:
    """Return whole answers, without the pictures in them."""
    return json.dumps([as_record(checked) for checked in results], ensure_ascii=False, indent=1)
