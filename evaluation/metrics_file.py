"""The metrics of a release, model_store/<version>/metrics.json: one section a protocol, each with its conditions."""

import json
from pathlib import Path
from typing import Any

from imagetrust.files import replace_json

METRICS = "metrics.json"


def read_metrics(release: Path) -> dict[str, Any]:
    """Return the sections of a release by name; empty where nothing has been measured."""
    path = release / METRICS
    metrics: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return metrics


def write_sections(release: Path, sections: dict[str, Any]) -> None:
    """Write sections of a release, and leave its others as they are."""
    replace_json(release / METRICS, read_metrics(release) | sections)
