"""Results as files, in the rows of the command line: a table as CSV, whole answers as JSON."""

import io
import json
from collections.abc import Iterable
from typing import Any

from imagetrust.client.rows import Csv, JsonLines, Row
from ui.checking import Checked

_MARK = "\ufeff"  # tells spreadsheets that the text is UTF-8


def csv_head() -> str:
    """Return the first line of a table."""
    file = io.StringIO()
    Csv(file).begin()
    return _MARK + file.getvalue()


def csv_line(checked: Checked) -> str:
    """Return a result's line of a table."""
    file = io.StringIO()
    Csv(file).add(_row(checked))
    return file.getvalue()


def as_csv(results: Iterable[Checked]) -> str:
    """Return a table of results."""
    return csv_head() + "".join(map(csv_line, results))


def as_record(checked: Checked) -> dict[str, Any]:
    """Return a result as the JSON export has it: the whole answer but for the picture in it, or the error."""
    file = io.StringIO()
    JsonLines(file).add(_row(checked))
    record: dict[str, Any] = json.loads(file.getvalue())
    if checked.answer:
        del record["inferred"]["heatmap"]["overlay_png"]
    return record


def as_json(results: Iterable[Checked]) -> str:
    """Return whole answers as a list."""
    return json.dumps([as_record(checked) for checked in results], ensure_ascii=False, indent=1)


def _row(checked: Checked) -> Row:
    message = f"{checked.fault.title}. {checked.fault.advice}" if checked.fault else ""
    return Row(checked.name, checked.answer, code=checked.code, message=message, request_id=checked.request_id or "")
