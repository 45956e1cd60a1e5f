"""What a run reports: tables for reading, summary.json for programs."""

import json
from dataclasses import asdict
from pathlib import Path

from loadtests.figures import latency
from loadtests.gates import Gate
from loadtests.mix import ENDPOINTS, TYPICAL
from loadtests.requests_sent import Request
from loadtests.timetable import Timetable, starts

_VERDICTS = {True: "ok", False: "MISSED", None: "not judged"}


def latencies(requests: list[Request]) -> list[dict[str, object]]:
    """By endpoint, for all pictures and for the typical kind: how many were served, p50, p99 (ms) and their ratio."""
    rows = []
    for endpoint in ENDPOINTS:
        for pictures, kind in (("all", None), (str(TYPICAL), str(TYPICAL))):
            if measured := latency(requests, endpoint, kind):
                rows.append({
                    "endpoint": endpoint, "pictures": pictures, "served": measured.count,
                    "p50": measured.p50, "p99": measured.p99, "p99 / p50": round(measured.spread, 2),
                })  # fmt: skip
    return rows


def by_stage(stages: Timetable, capacity: float, requests: list[Request]) -> list[dict[str, object]]:
    """By stage: what was planned, sent and answered a second, and the share of the sent that was refused."""
    rows = []
    for start, stage in zip(starts(stages), stages, strict=True):
        sent = [request for request in requests if start <= request.second < start + stage.seconds]
        answered = [r for r in requests if start <= r.second + r.milliseconds / 1000 < start + stage.seconds]
        rows.append({
            "second": round(start), "of capacity": f"{stage.load:.0%}", "planned/s": round(stage.load * capacity, 1),
            "sent/s": round(len(sent) / stage.seconds, 1),
            "answered/s": round(sum(r.outcome in ("served", "declined") for r in answered) / stage.seconds, 1),
            "refused": f"{sum(r.outcome == 'refused' for r in sent) / max(1, len(sent)):.0%}",
        })  # fmt: skip
    return rows


def table(rows: list[dict[str, object]]) -> str:
    """Rows with the same members, in columns."""
    lines = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)] if rows else []
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def verdicts(gates: list[Gate]) -> str:
    """The gates with their figures."""
    return table([
        {"gate": gate.name, "figure": gate.figure, "limit": gate.limit, "": _VERDICTS[gate.passed]} for gate in gates
    ])  # fmt: skip


def write_summary(path: Path, summary: dict[str, object], gates: list[Gate]) -> None:
    """Writes the JSON, whole or not at all."""
    temporary = path.with_suffix(".partial")
    temporary.write_text(json.dumps(summary | {"gates": [asdict(gate) for gate in gates]}, indent=2) + "\n")
    temporary.replace(path)
