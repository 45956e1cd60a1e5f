"""Figures agree with scikit-learn or with what can be worked out by hand; guarantees hold on fresh draws."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from training.calibration import conformal_thresholds, fit_temperature
from training.metrics import expected_calibration_error, report, wilson_interval


def draw(rng, count, classes, sharpness=1.5):
    labels = rng.integers(0, classes, count)
    logits = rng.normal(0, 1, (count, classes))
    logits[np.arange(count), labels] += sharpness
    return logits, labels


def softmax(logits):
    exponents = np.exp(logits - logits.max(1, keepdims=True))
    return exponents / exponents.sum(1, keepdims=True)


@pytest.mark.parametrize("classes", [("real", "generated"), ("real", "gan", "diffusion", "other")])
def test_report_agrees_with_scikit_learn(classes):
    logits, labels = draw(np.random.default_rng(0), 500, len(classes))
    probabilities = softmax(logits)
    predicted = probabilities.argmax(1)
    figures = report(probabilities, labels, classes)
    assert figures["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(labels, predicted))
    assert figures["macro_f1"] == pytest.approx(sklearn_metrics.f1_score(labels, predicted, average="macro"))
    assert figures["negative_log_likelihood"] == pytest.approx(sklearn_metrics.log_loss(labels, probabilities))
    recalls = [figures["classes"][name]["recall"] for name in classes]
    assert figures["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert np.sum(figures["confusion"]) == 500
    confident = probabilities.max(1) > 0.9
    assert figures["wrong_above_0.9_confidence"] == pytest.approx((confident & (predicted != labels)).mean())
    assert ("roc_auc" in figures) == (len(classes) == 2)


def test_calibration_error_by_hand():
    confidence = np.array([0.95, 0.95, 0.55, 0.55])
    assert expected_calibration_error(confidence, np.array([1, 1, 1, 0])) == pytest.approx(0.5 * 0.05 + 0.5 * 0.05)
    assert expected_calibration_error(np.ones(4), np.zeros(4)) == 1.0


def test_wilson_interval():
    low, high = wilson_interval(90, 100)
    assert (low, high) == pytest.approx((0.8256, 0.9448), abs=1e-3)  # Newcombe 1998, table of examples
    assert wilson_interval(0, 10)[0] == pytest.approx(0, abs=1e-12)
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_temperature_is_recovered():
    """Logits that are three times too bold get a temperature of three."""
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 1.5, (20_000, 4))
    labels = np.array([rng.choice(4, p=row) for row in softmax(logits)])
    assert fit_temperature(3 * logits, labels) == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize("separation", [0.5, 1.0, 4.0])
def test_conformal_thresholds_hold_on_new_pictures(separation):
    """Averaged over calibration sets, at most 5 % of new photographs are accused, and the reverse."""
    rng = np.random.default_rng(2)

    def generated(labels):
        return 1 / (1 + np.exp(-rng.normal(np.where(labels == 1, separation, -separation), 1.0)))

    accused, missed = [], []
    for _ in range(200):
        labels = rng.integers(0, 2, 200)
        thresholds = conformal_thresholds(generated(labels), labels, error=0.05)
        assert 0 <= thresholds.real <= thresholds.generated <= 1
        new = rng.integers(0, 2, 2000)
        probabilities = generated(new)
        accused.append((probabilities[new == 0] >= thresholds.generated).mean())
        missed.append((probabilities[new == 1] <= thresholds.real).mean())
    assert np.mean(accused) <= 0.052 and np.mean(missed) <= 0.052
    if separation < 2:
        assert np.mean(accused) > 0.035, "the threshold is needlessly strict"


def test_too_few_pictures_guarantee_nothing():
    with pytest.raises(ValueError, match="guarantee"):
        conformal_thresholds(np.array([0.1, 0.9]), np.array([0, 1]), error=0.05)
