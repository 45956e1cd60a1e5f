"""What a run sent, one line a request: Locust's own statistics round latencies and keep neither kinds nor times."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Request:
    """second: when it was sent, from the start. kind: of the picture. outcome: "declined" is a broken picture's 400."""

    second: float
    transport: str
    endpoint: str
    kind: str
    milliseconds: float
    outcome: Literal["served", "declined", "refused", "failed"]
    fault: str = ""


def read(path: Path) -> list[Request]:
    """The requests of a log, in the order in which they were answered."""
    with path.open(newline="") as file:
        return [
            Request(**row | {"second": float(row["second"]), "milliseconds": float(row["milliseconds"])})
            for row in csv.DictReader(file)
        ]
