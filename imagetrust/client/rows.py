"""What a command line prints of each picture: lines to read, lines of JSON, or CSV."""

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TextIO

import msgspec

from imagetrust.client.answers import Explanation, Verdicts

_COLUMNS = (
    "picture", "verdict", "probability_generated", "family", "family_confidence", "model_version", "summary",
    "heatmap_file", "error", "message",
)  # fmt: skip
# What a table calculator takes for a formula, after spaces too (OWASP, "CSV Injection"); the full-width ones as well.
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
NOT_ANSWERED = "failed"


@dataclass(frozen=True)
class Row:
    """One picture and what came of it. code and message: why it has no answer. heatmap_file: where its map lies."""

    picture: str
    answer: Verdicts | Explanation | None = None
    heatmap_file: str = ""
    code: str = ""
    message: str = ""
    request_id: str = ""

    @property
    def verdicts(self) -> Verdicts | None:
        """What is answered to both questions."""
        return self.answer.inferred if isinstance(self.answer, Explanation) else self.answer

    @property
    def verdict(self) -> str:
        """`real`, `uncertain`, `generated` or `failed`."""
        return self.verdicts.authenticity.verdict if self.verdicts else NOT_ANSWERED


def printable(text: str) -> str:
    """Return a text on one line, with what would steer a terminal written as escapes."""
    shown = "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
    return shown.encode("utf-8", "backslashreplace").decode()


class Table:
    """Lines for a person: the columns of fixed width first, so that no line waits for another."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def begin(self) -> None:
        """Print the head."""
        print(f"{'verdict':<10} {'generated':>9}  {'family':<16} picture", file=self._file)

    def add(self, row: Row) -> None:
        """Print a picture."""
        verdicts = row.verdicts
        if verdicts is None:
            print(
                f"{NOT_ANSWERED:<10} {'':>9}  {'':<16} {printable(row.picture)}: {printable(row.message)}",
                file=self._file,
            )
            return
        generated, type_ = verdicts.authenticity.probability_generated, verdicts.generator_type
        family = f"{printable(type_.family)} {type_.confidence:.0%}"
        print(f"{row.verdict:<10} {generated:>9.1%}  {family:<16} {printable(row.picture)}", file=self._file)
        for line in _explained(row):
            print(f"{'':<38} {printable(line)}", file=self._file)


class JsonLines:
    """One JSON object a line: the picture's name, and the API's answer or an error."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def begin(self) -> None:
        """Print nothing: every line stands alone."""

    def add(self, row: Row) -> None:
        """Print a picture."""
        members: dict[str, Any] = {"picture": printable(row.picture)}
        if row.answer is None:
            members["error"] = {"code": row.code, "message": row.message}
            if row.request_id:
                members["error"]["request_id"] = row.request_id
        else:
            answer = msgspec.to_builtins(row.answer)
            members |= answer if isinstance(row.answer, Explanation) else {"inferred": answer}
        if row.heatmap_file:
            members["heatmap_file"] = printable(row.heatmap_file)
        print(json.dumps(members, ensure_ascii=False), file=self._file)


class Csv:
    """CSV by RFC 4180 with a head. No cell is a formula: where one would be, an apostrophe stands before it."""

    def __init__(self, file: TextIO) -> None:
        self._writer = csv.writer(file)

    def begin(self) -> None:
        """Print the head."""
        self._writer.writerow(_COLUMNS)

    def add(self, row: Row) -> None:
        """Print a picture."""
        verdicts, cells = row.verdicts, {"picture": row.picture, "verdict": row.verdict}
        if verdicts is None:
            cells |= {"error": row.code, "message": row.message}
        else:
            authenticity, type_ = verdicts.authenticity, verdicts.generator_type
            cells |= {
                "probability_generated": f"{authenticity.probability_generated:.6f}",
                "family": type_.family,
                "family_confidence": f"{type_.confidence:.6f}",
                "model_version": authenticity.model.version,
                "summary": row.answer.summary if isinstance(row.answer, Explanation) else "",
                "heatmap_file": row.heatmap_file,
            }
        self._writer.writerow([_cell(cells.get(name, "")) for name in _COLUMNS])


FORMATS: dict[str, type[Table] | type[JsonLines] | type[Csv]] = {"table": Table, "json": JsonLines, "csv": Csv}


def _cell(text: str) -> str:
    return "'" + printable(text) if _FORMULA.match(text) else printable(text)


def _explained(row: Row) -> Sequence[str]:
    if not isinstance(row.answer, Explanation):
        return ()
    heatmap = f"Heat map: {row.heatmap_file}" if row.heatmap_file else ""
    declared = (
        f"Declared ({found.source}, {found.strength}): {found.detail}" for found in row.answer.declared.findings
    )
    return [line for line in (row.answer.summary, row.answer.inferred.heatmap.sentence, *declared, heatmap) if line]
