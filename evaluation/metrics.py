"""Classification metrics from probabilities and labels, as plain JSON values."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn import metrics

from imagetrust.models.config import Thresholds

CONFIDENT = 0.9  # the probability of the predicted class above which an error counts as confident

Floats = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]
Bools = NDArray[np.bool_]
Rate = dict[str, Any]


def wilson_interval(successes: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a proportion (Wilson 1927), which holds for small counts and near 0 and 1."""
    if total == 0:
        return 0.0, 1.0
    interval = binomtest(successes, total).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def rate(successes: int, total: int) -> Rate | None:
    """Return a proportion with its count and 95 % interval; None of nothing."""
    if total == 0:
        return None
    return {
        "value": int(successes) / int(total),
        "count": int(total),
        "interval_95": list(wilson_interval(int(successes), int(total))),
    }


def rate_of(hits: Bools) -> Rate | None:
    """Return the `rate` at which an array (N,) is true."""
    return rate(int(hits.sum()), len(hits))


def rates_by_group(names: Iterable[str], hits: Bools) -> dict[str, Rate]:
    """Return the `rate` of each group, the worst first. names: the group of each of hits (N,)."""
    groups = np.array(list(names))
    rates = {str(name): found for name in np.unique(groups) if (found := rate_of(hits[groups == name]))}
    return dict(sorted(rates.items(), key=lambda item: item[1]["interval_95"][1]))


def expected_calibration_error(confidence: Floats, correct: Bools, bins: int = 15) -> float | None:
    """Return the mean gap between confidence and accuracy over equal-width bins (Guo et al. 2017, arXiv 1706.04599).

    confidence: (N,) probability of the predicted class. correct: (N,). None of nothing.
    """
    if len(confidence) == 0:
        return None
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(confidence[index == number].mean() - correct[index == number].mean()) * (index == number).mean()
        for number in np.unique(index)
    ]
    return float(sum(gaps))


def confident_errors(probabilities: Floats, labels: Labels) -> Rate | None:
    """Return how many of all images are classified wrongly above CONFIDENT. probabilities: (N, classes)."""
    return rate_of((probabilities.argmax(1) != labels) & (probabilities.max(1) > CONFIDENT))


def balanced_accuracy(predicted: Labels, labels: Labels) -> float:
    """Return the mean recall of the classes that occur among the labels (N,)."""
    return float(np.mean([(predicted[labels == index] == index).mean() for index in np.unique(labels)]))


def roc_auc(generated: Floats, labels: Labels) -> float | None:
    """Return how often a generated image scores above a real one, ties halved. None where one class is missing."""
    if len(set(labels.tolist())) < 2:
        return None
    return float(metrics.roc_auc_score(labels, generated))


def classification_metrics(probabilities: Floats, labels: Labels, classes: tuple[str, ...]) -> dict[str, Any]:
    """Return every metric of one evaluation. probabilities: (N, classes), calibrated. labels: (N,) class indices."""
    predicted = probabilities.argmax(1)
    correct = predicted == labels
    indices = range(len(classes))
    precision, recall, f1, count = metrics.precision_recall_fscore_support(
        labels, predicted, labels=indices, zero_division=0.0
    )
    found = {
        "count": len(labels),
        "accuracy": rate_of(correct),
        "balanced_accuracy": balanced_accuracy(predicted, labels),
        "macro_f1": float(f1.mean()),
        "classes": {
            name: {
                "count": int(count[index]),
                "precision": float(precision[index]),
                "recall": rate_of(correct[labels == index]),
                "f1": float(f1[index]),
            }
            for index, name in enumerate(classes)
        },
        "confusion": metrics.confusion_matrix(labels, predicted, labels=indices).tolist(),
        "negative_log_likelihood": float(metrics.log_loss(labels, probabilities, labels=indices)),
        "expected_calibration_error": expected_calibration_error(probabilities.max(1), correct),
        "confident_errors": confident_errors(probabilities, labels),
    }
    if len(classes) == 2:
        found["roc_auc"] = roc_auc(probabilities[:, 1], labels)
    return found


def verdicts_of(generated: Floats, thresholds: Thresholds) -> NDArray[np.str_]:
    """Return the verdict (N,) on each calibrated probability (N,) of being generated."""
    return np.array([thresholds.verdict(probability) for probability in generated.tolist()], dtype=str)


def verdict_metrics(generated: Floats, labels: Labels, thresholds: Thresholds) -> dict[str, Rate | None]:
    """Return coverage, selective risk (the errors among the decided), and the rates of false verdicts.

    generated: (N,) calibrated probability of being generated. labels: (N,) 0 real, 1 generated. A verdict of
    "uncertain" is neither a false positive nor a false negative.
    """
    verdicts = verdicts_of(generated, thresholds)
    decided = verdicts != "uncertain"
    wrong = verdicts != np.where(labels == 1, "generated", "real")
    return {
        "coverage": rate_of(decided),
        "selective_risk": rate_of(wrong[decided]),
        "false_positive_rate": rate_of(verdicts[labels == 0] == "generated"),
        "false_negative_rate": rate_of(verdicts[labels == 1] == "real"),
    }
