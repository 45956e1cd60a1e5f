"""Metrics of models that were trained without a group of generators or of real sources.

Each group is scored by a model that never saw it: on the group's own images, and on images of the other class to hold
against them, which the model's training data resemble. What is said of unknown sources counts the left-out images
alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.metrics import (
    Bools,
    Floats,
    Labels,
    balanced_accuracy,
    confident_errors,
    expected_calibration_error,
    rate_of,
    roc_auc,
    verdicts_of,
)
from imagetrust.models.config import Thresholds


@dataclass(frozen=True)
class HeldOutGroup:
    """What a model trained without a group makes of it.

    reason: what the group is, in words. generated: (N,) calibrated probability of being generated. labels: (N,) 0 real,
    1 generated. left_out: (N,) whether the image belongs to the group; all of these have one label. thresholds: of the
    model that gave the probabilities.
    """

    reason: str
    generated: Floats
    labels: Labels
    left_out: Bools
    thresholds: Thresholds

    def __post_init__(self) -> None:
        """Raise ValueError for a group without images, or with images of both classes."""
        if len(np.unique(self.labels[self.left_out])) != 1:
            raise ValueError("the left-out images of a group must be of one class")

    @property
    def is_real(self) -> bool:
        """Whether real sources were left out."""
        return bool((self.labels[self.left_out] == 0).all())


def score_group(group: HeldOutGroup) -> dict[str, Any]:
    """Return the metrics of one group."""
    predicted = (group.generated > 0.5).astype(int)
    correct = predicted == group.labels
    return {
        "reason": group.reason,
        "left_out_class": "real" if group.is_real else "generated",
        "recall": rate_of(correct[group.left_out]),
        "other_class_recall": rate_of(correct[~group.left_out]),
        "balanced_accuracy": balanced_accuracy(predicted, group.labels),
        "roc_auc": roc_auc(group.generated, group.labels),
        "left_out": _left_out_metrics([group]),
    }


def score_groups(groups: Mapping[str, HeldOutGroup]) -> dict[str, Any]:
    """Return `groups`, the metrics of each, and those of the left-out images together: `generators`, `real_sources`."""
    section: dict[str, Any] = {"groups": {name: score_group(group) for name, group in groups.items()}}
    for kind, is_real in (("generators", False), ("real_sources", True)):
        names = [name for name, group in groups.items() if group.is_real == is_real]
        if names:
            section[kind] = _summary({name: section["groups"][name] for name in names}) | {
                "left_out": _left_out_metrics([groups[name] for name in names])
            }
    return section


def _summary(rows: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    worst = min(rows, key=lambda name: rows[name]["recall"]["value"])
    return {
        "mean_recall": float(np.mean([row["recall"]["value"] for row in rows.values()])),
        "mean_balanced_accuracy": float(np.mean([row["balanced_accuracy"] for row in rows.values()])),
        "worst_group": worst,
        "worst_recall": rows[worst]["recall"],
    }


def _left_out_metrics(groups: Sequence[HeldOutGroup]) -> dict[str, Any]:
    """Return calibration and verdicts on the left-out images of groups, each by its own model and thresholds."""
    generated = np.concatenate([group.generated[group.left_out] for group in groups])
    labels = np.concatenate([group.labels[group.left_out] for group in groups])
    probabilities = np.stack([1 - generated, generated], axis=1)
    verdicts = np.concatenate([verdicts_of(group.generated[group.left_out], group.thresholds) for group in groups])
    decided = verdicts != "uncertain"
    wrong = verdicts != np.where(labels == 1, "generated", "real")
    return {
        "expected_calibration_error": expected_calibration_error(
            probabilities.max(1), (generated > 0.5).astype(int) == labels
        ),
        "confident_errors": confident_errors(probabilities, labels),
        "coverage": rate_of(decided),
        "selective_risk": rate_of(wrong[decided]),
        "wrong_verdicts": rate_of(wrong & decided),
    }
