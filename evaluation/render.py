"""REPORT.md, MODEL_CARD.md and the README's table, rendered from metrics.json and config.json alone.

The model card follows Mitchell et al. 2019, "Model Cards for Model Reporting" (arXiv 1810.03993).
"""

import json
from pathlib import Path
from typing import Any

import jinja2

from evaluation.metrics_file import read_metrics
from imagetrust.files import replace_bytes
from imagetrust.models.config import ModelConfig
from imagetrust.models.registry import backbone_of

_MISSING = "–"
LESSONS = "lessons.json"  # of a backbone that another model taught (training.teach)


def percent(value: Any) -> str:
    """Return a fraction in percent; a dash for what is missing."""
    return f"{value:.1%}" if isinstance(value, int | float) else _MISSING


def rate(value: Any) -> str:
    """Return a rate of evaluation.metrics with its interval and count; a dash for what is missing."""
    if not isinstance(value, dict):
        return _MISSING
    low, high = value["interval_95"]
    return f"{value['value']:.1%} ({low:.1%} to {high:.1%}; n = {value['count']})"


def number(value: Any) -> str:
    """Return a number with three decimals; a dash for what is missing."""
    return f"{value:.3f}" if isinstance(value, int | float) else _MISSING


def environment() -> jinja2.Environment:
    """Return the templates with their filters. They write Markdown, which nothing is escaped in."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=jinja2.ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    templates.filters |= {"percent": percent, "rate": rate, "number": number}
    return templates


def render(template: str, release: Path) -> str:
    """Return a document on a release. template: a file in evaluation/templates.

    Raises ValueError where the release's description cannot be read.
    """
    config = ModelConfig.read(release)
    lessons = release / LESSONS
    text = (
        environment()
        .get_template(template)
        .render(
            config=config,
            backbone=backbone_of(config.backbone),
            lessons=json.loads(lessons.read_bytes()) if lessons.exists() else [],
            metrics=read_metrics(release),
        )
    )
    return text.rstrip() + "\n"


def write_documents(release: Path) -> None:
    """Write REPORT.md and MODEL_CARD.md into a release's folder."""
    for name in ("REPORT.md", "MODEL_CARD.md"):
        replace_bytes(release / name, render(f"{name}.j2", release).encode())
