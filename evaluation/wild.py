"""Metrics on the wild set: whole images as people send them, by sources of which none is in the training data.

One half of the sources chooses between views, models and thresholds; the other half alone is for the report.
"""

import csv
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.metrics import Bools, Labels, rate_of
from evaluation.predict import Logits, task_metrics
from imagetrust.models.model import Model
from training.data import WILD_LABELS, Record, label_of, read_wild

__all__ = ["HALVES", "read_wild", "saved_kinds", "wild_half", "wild_metrics"]

HALVES = ("choosing", "reported")


def wild_half(record: Record) -> str:
    """Return the half of an image, by the first bit of the SHA-256 of its source's name.

    This never changes: what once took part in a choice stays out of the report.
    """
    return HALVES[hashlib.sha256(record.source.encode()).digest()[0] >> 7]


def saved_kinds(root: Path) -> dict[Path, str]:
    """Return how each image was saved, by its path: "original", or "jpeg" or "webp" where it was scaled and saved."""
    with (root / WILD_LABELS).open(newline="") as file:
        return {root / row["file"]: row["saved"].split()[0] for row in csv.DictReader(file)}


def wild_metrics(
    model: Model, records: Sequence[Record], logits: Logits, saved: Mapping[Path, str]
) -> dict[str, dict[str, Any]]:
    """Return the metrics of all images and of each half, and the recalls by kind of image.

    saved: how each was saved, by its path.
    """
    halves = np.array([wild_half(record) for record in records])
    parts = {"all": np.arange(len(records))} | {half: np.flatnonzero(halves == half) for half in HALVES}
    section: dict[str, Any] = {
        name: {
            task: task_metrics(model, task, [records[index] for index in chosen.tolist()], values[chosen])
            for task, values in logits.items()
        }
        for name, chosen in parts.items()
        if len(chosen)
    }
    labels = np.array([label_of(record, "authenticity") for record in records])
    correct = logits["authenticity"].argmax(1) == labels
    kinds = {
        "category": [record.category for record in records],
        "saved": [saved[record.path] for record in records],
        "generator": [record.generator for record in records],
    }
    section["by_kind"] = {kind: _recalls(names, labels, correct) for kind, names in kinds.items()}
    return section


def _recalls(names: Iterable[str], labels: Labels, correct: Bools) -> dict[str, dict[str, Any]]:
    """Return by name how many real images are classified as real, and how many generated ones as generated."""
    groups = np.array(list(names))
    return {
        str(name): {
            "real": rate_of(correct[(groups == name) & (labels == 0)]),
            "generated": rate_of(correct[(groups == name) & (labels == 1)]),
        }
        for name in np.unique(groups)
    }
