"""Metrics of models that were trained without a group of generators or of real sources.

Each group is scored by a model that never saw it: on the group's own images, and on images of the other class to hold
against them, which the model's training data resemble. What is said of unknown sources counts the left-out images
alone. The random folds leave out both classes at once, and every image of the data is left out in one of them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from training.sources import PARTLY_REAL


@dataclass(frozen=True)
class HeldOutGroup:
    """What a model trained without a group makes of it.

    reason: what the group is, in words. generated: (N,) calibrated probability of being generated. labels: (N,) 0 real,
    1 generated. left_out: (N,) whether the image belongs to the group; all of these have one label. thresholds: of the
    model that gave the probabilities. sources: (N,) names; of a random fold alone.
    """

    reason: str
    generated: Floats
    labels: Labels
    left_out: Bools
    thresholds: Thresholds
    sources: NDArray[np.str_] | None = None

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
    """Return `groups`, the metrics of each, and those of the left-out images together.

    `generators` and `real_sources` are of the groups by kind, `folds` of the random ones.
    """
    section: dict[str, Any] = {"groups": {name: score_group(group) for name, group in groups.items()}}
    for kind, is_real in (("generators", False), ("real_sources", True)):
        names = [name for name, group in groups.items() if group.is_real == is_real and group.sources is None]
        if names:
            section[kind] = _summary({name: section["groups"][name] for name in names}) | {
                "left_out": _left_out_metrics([groups[name] for name in names])
            }
    folds = [group for group in groups.values() if group.sources is not None]
    if len({group.is_real for group in folds}) == 2:
        section["folds"] = _folds(folds)
    return section


def _folds(groups: Sequence[HeldOutGroup]) -> dict[str, Any]:
    """Return the metrics of the left-out images of all random folds, of which each class has some.

    Partly real images count in `partly_real` and in the calibration and verdicts of `left_out` alone.
    """
    sources = np.concatenate([group.sources[group.left_out] for group in groups if group.sources is not None])
    partly = np.array([re.search(PARTLY_REAL, source) is not None for source in sources])
    labels = np.concatenate([group.labels[group.left_out] for group in groups])
    generated = np.concatenate([group.generated[group.left_out] for group in groups])
    called = np.concatenate([group.generated[group.left_out] >= group.thresholds.generated for group in groups])
    partly_real = rate_of(generated[partly] > 0.5)
    labels, generated, sources, called = labels[~partly], generated[~partly], sources[~partly], called[~partly]
    predicted, real = generated > 0.5, labels == 0
    return {
        "count": len(labels),
        "sources": len(np.unique(sources)),
        "balanced_accuracy": balanced_accuracy(predicted.astype(int), labels),
        "balanced_accuracy_interval_95": _interval_by_source(predicted == labels, labels, sources),
        "roc_auc": roc_auc(generated, labels),
        "recall": rate_of(predicted[~real]),
        "false_positives": rate_of(predicted[real]),
        "called_generated": rate_of(called[~real]),
        "real_called_generated": rate_of(called[real]),
        "partly_real": partly_real,
        "left_out": _left_out_metrics(groups),
    }


def _interval_by_source(correct: Bools, labels: Labels, sources: NDArray[np.str_]) -> list[float]:
    """Return the 95 % interval of the balanced accuracy over samples of whole sources, by the bootstrap."""
    names, index = np.unique(sources, return_inverse=True)
    drawn = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), size=2000)
    recalls = []
    for label in (0, 1):
        of_class = labels == label
        right, count = (np.bincount(index[of_class], weight[of_class], len(names)) for weight in (correct, labels >= 0))
        recalls.append(drawn @ right / np.maximum(drawn @ count, 1))
    low, high = np.quantile((recalls[0] + recalls[1]) / 2, [0.025, 0.975])
    return [float(low), float(high)]


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
