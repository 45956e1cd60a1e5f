"""Figures agree with scikit-learn or with what can be worked out by hand; guarantees hold on fresh draws."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from training.calibration import fit_open_temperature, fit_temperature, verdict_thresholds
from training.evaluate import summary
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


def test_what_is_unseen_counts_half_however_many_pictures_it_has():
    """Answers that need a temperature of 1 on known sources and of 3 elsewhere get one in between."""
    rng = np.random.default_rng(2)

    def answers(count: int, boldness: float):
        logits = rng.normal(0, 1.5, (count, 2))
        return boldness * logits, np.array([rng.choice(2, p=row) for row in softmax(logits)])

    known, few, many = answers(20_000, 1), answers(2_000, 3), answers(20_000, 3)
    assert fit_open_temperature(known, []) == pytest.approx(1, rel=0.05)
    between = fit_open_temperature(known, [many])
    assert 1.3 < between < 2.7
    assert fit_open_temperature(known, [few]) == pytest.approx(between, rel=0.1)
    assert fit_open_temperature(known, [few, many]) == pytest.approx(between, rel=0.1)


def optimal(rng, count: int, separation: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and the exact probabilities of being generated that an optimal model of this separation gives."""
    labels = rng.integers(0, 2, count)
    scores = rng.normal(np.where(labels == 1, separation, -separation), 1.0)
    return labels, 1 / (1 + np.exp(-2 * separation * scores))


@pytest.mark.parametrize(("separation", "least"), [(0.7, 0.03), (1.0, 0.25), (1.5, 0.7), (3.0, 0.98)])
def test_both_rates_hold_on_new_pictures(separation, least):
    """In nine of ten calibration sets, at most 5 % of photographs are accused and 5 % of what is decided is wrong."""
    rng = np.random.default_rng(3)
    new, probabilities = optimal(rng, 50_000, separation)
    broken, shares = [], []
    for _ in range(150):
        labels, generated = optimal(rng, 600, separation)
        thresholds, shown = verdict_thresholds(generated, labels, error=0.05)
        assert 0 <= thresholds.real <= thresholds.generated <= 1
        called_generated, called_real = probabilities >= thresholds.generated, probabilities <= thresholds.real
        decided = called_generated | called_real
        wrong = (called_generated & (new == 0)) | (called_real & (new == 1))
        shares.append(decided.mean())
        if shown:
            broken.append(called_generated[new == 0].mean() > 0.05 or wrong.sum() / decided.sum() > 0.05)
    assert sum(broken) / 150 <= 0.1, "the promise is for nine of ten"
    # A model that is good enough decides everything; a weak one still decides something.
    assert np.mean(shares) > least


def test_a_blind_model_is_promised_nothing():
    rng = np.random.default_rng(4)
    _, shown = verdict_thresholds(rng.random(400), rng.integers(0, 2, 400), error=0.05)
    assert not shown


def test_too_few_pictures_show_nothing():
    thresholds, shown = verdict_thresholds(np.array([0.001, 0.999]), np.array([0, 1]), error=0.05)
    assert not shown and thresholds.generated == 0.995


def test_strange_photographs_tighten_the_thresholds():
    """Photographs of unknown sources, of which a fifth look generated, are not called so more often than promised."""
    labels, generated = optimal(np.random.default_rng(5), 2000, 3.0)
    strange = np.where(np.arange(500) % 5 == 0, 0.96, 0.1)
    loose, shown = verdict_thresholds(generated, labels, error=0.05)
    tight, still_shown = verdict_thresholds(generated, labels, error=0.05, strange_photographs=strange)
    assert shown and still_shown
    assert (strange >= loose.generated).mean() == 0.2 and (strange >= tight.generated).mean() == 0


def test_a_summary_gives_counts_and_intervals():
    """One of four real images called generated, all of two generated ones found; five of six decided."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.1, 0.9], [0.1, 0.9], [0.1, 0.9]])
    figures = report(probabilities, np.array([0, 0, 0, 0, 1, 1]), ("real", "generated"))
    figures["verdicts"] = {
        "decided": 5 / 6, "errors_among_decided": 1 / 5, "photographs_called_generated": 1 / 4,
        "generated_called_real": 0.0,
    }  # fmt: skip
    said = summary("authenticity", "some images", figures)
    low, high = wilson_interval(1, 4)
    assert f"false positive rate: real called generated 25.0% ({low:.1%} to {high:.1%}; 1 of 4)" in said
    assert "real       recall 75.0%" in said and "3 of 4" in said and "AUC 0.875" in said and "5 of 6" in said
