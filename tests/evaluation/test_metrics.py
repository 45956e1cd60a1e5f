"""Metrics against values computed by hand."""

import json

import numpy as np
import pytest

from evaluation.metrics import (
    balanced_accuracy,
    classification_metrics,
    confident_errors,
    expected_calibration_error,
    rate,
    rates_by_group,
    roc_auc,
    verdict_metrics,
    verdicts_of,
    wilson_interval,
)
from imagetrust.models.config import Thresholds

GENERATED = np.array([0.1, 0.2, 0.95, 0.6, 0.9, 0.3])
LABELS = np.array([0, 0, 0, 1, 1, 1])
PROBABILITIES = np.stack([1 - GENERATED, GENERATED], axis=1)


def test_wilson_interval_is_the_published_one():
    """Newcombe 1998, table I: 81 of 263 and 0 of 20."""
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)


def test_of_nothing_there_is_no_rate():
    assert rate(0, 0) is None
    assert expected_calibration_error(np.array([]), np.array([], bool)) is None


def test_classification_by_hand():
    found = classification_metrics(PROBABILITIES, LABELS, ("real", "generated"))
    assert found["confusion"] == [[2, 1], [1, 2]]
    assert found["accuracy"]["value"] == pytest.approx(4 / 6) and found["accuracy"]["count"] == 6
    assert found["balanced_accuracy"] == found["macro_f1"] == pytest.approx(2 / 3)
    assert found["roc_auc"] == pytest.approx(6 / 9)
    assert found["confident_errors"]["value"] == pytest.approx(1 / 6)
    expected = -np.log([0.9, 0.8, 0.05, 0.6, 0.9, 0.3]).mean()
    assert found["negative_log_likelihood"] == pytest.approx(expected)
    json.dumps(found)


def test_a_class_that_does_not_occur_has_no_recall_and_does_not_count():
    found = classification_metrics(PROBABILITIES[:3], LABELS[:3], ("real", "generated"))
    assert found["classes"]["generated"]["recall"] is None and found["roc_auc"] is None
    assert found["balanced_accuracy"] == pytest.approx(2 / 3)


def test_calibration_error_by_hand():
    """Two bins: 0.55 with half right, 0.95 with all right; weights 2/3 and 1/3."""
    confidence = np.array([0.55, 0.55, 0.55, 0.55, 0.95, 0.95])
    correct = np.array([1, 1, 0, 0, 1, 1], bool)
    assert expected_calibration_error(confidence, correct) == pytest.approx(2 / 3 * 0.05 + 1 / 3 * 0.05)
    assert expected_calibration_error(np.ones(3), np.ones(3, bool)) == 0


def test_balanced_accuracy_and_auc_agree_with_a_coin():
    labels = np.repeat([0, 1], [90, 10])
    assert balanced_accuracy(np.zeros(100, int), labels) == 0.5
    assert roc_auc(np.full(100, 0.5), labels) == 0.5


def test_errors_count_as_confident_above_nine_tenths():
    probabilities = np.array([[0.91, 0.09], [0.9, 0.1], [0.05, 0.95]])
    assert confident_errors(probabilities, np.array([1, 1, 1]))["value"] == pytest.approx(1 / 3)


def test_verdicts_by_hand():
    thresholds = Thresholds(real=0.25, generated=0.8)
    assert verdicts_of(np.array([0.25, 0.26, 0.8]), thresholds).tolist() == ["real", "uncertain", "generated"]
    found = verdict_metrics(GENERATED, LABELS, thresholds)
    assert found["coverage"]["value"] == pytest.approx(4 / 6)
    assert found["selective_risk"]["value"] == pytest.approx(1 / 4)
    assert found["false_positive_rate"]["value"] == pytest.approx(1 / 3)
    assert found["false_negative_rate"]["value"] == 0


def test_groups_come_worst_first():
    hits = np.array([True] * 20 + [False] * 19 + [True])
    assert list(rates_by_group(["good"] * 20 + ["bad"] * 20, hits)) == ["bad", "good"]
