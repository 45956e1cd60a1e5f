"""Guarantees hold on fresh samples, temperatures are recovered."""

import numpy as np
import pytest
from scipy.special import softmax as scipy_softmax

from training.calibration import (
    fit_open_temperature,
    fit_real_bias,
    fit_temperature,
    verdict_thresholds,
    with_real_bias,
)


def softmax(logits):
    return scipy_softmax(logits, axis=1)


def test_temperature_is_recovered():
    """Logits that are three times too bold get a temperature of three."""
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 1.5, (20_000, 4))
    labels = np.array([rng.choice(4, p=row) for row in softmax(logits)])
    assert fit_temperature(3 * logits, labels) == pytest.approx(3, rel=0.05)


def test_what_is_unseen_counts_half_however_many_images_it_has():
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


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_what_real_images_lost_is_given_back_however_many_they_are(share):
    rng = np.random.default_rng(8)
    labels = (rng.random(20_000) > share).astype(int)
    logits = np.stack([np.zeros(len(labels)), rng.normal(np.where(labels == 1, 1.0, -1.0), 1.0) * 2], axis=1)
    assert fit_real_bias([(logits, labels)], 1.0) == pytest.approx(0, abs=0.08)
    biased = with_real_bias(2 * logits, -1.5)
    assert fit_real_bias([(biased, labels)], 2.0) == pytest.approx(1.5, abs=0.16)
    assert (with_real_bias(biased, 1.5) == 2 * logits).all()


def test_the_kinds_of_generated_images_are_one_side():
    """Real images are half of what counts, and not one of four classes: of those they would be given fewer."""
    rng = np.random.default_rng(10)
    labels = np.where(rng.random(30_000) < 0.5, 0, rng.integers(1, 4, 30_000))
    logits = 3 * np.eye(4)[labels] + rng.normal(size=(30_000, 4))
    bias = fit_real_bias([(logits, labels)], 1.0)
    recalls = [(with_real_bias(logits, bias).argmax(1)[side] == 0).mean() for side in (labels == 0, labels > 0)]
    assert 1 - recalls[0] == pytest.approx(recalls[1], abs=0.02)


def test_the_sets_of_a_bias_count_alike():
    rng = np.random.default_rng(9)

    def answers(count: int, bias: float):
        labels = rng.integers(0, 2, count)
        return with_real_bias(np.stack([np.zeros(count), 4 * labels - 2 + 2 * rng.normal(size=count)], 1), bias), labels

    few, many = answers(2_000, -1), answers(40_000, 0)
    assert 0.35 < fit_real_bias([few, many], 1.0) < 0.65


def optimal(rng, count: int, separation: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and the exact probabilities of being generated that an optimal model of this separation gives."""
    labels = rng.integers(0, 2, count)
    scores = rng.normal(np.where(labels == 1, separation, -separation), 1.0)
    return labels, 1 / (1 + np.exp(-2 * separation * scores))


@pytest.mark.parametrize(("separation", "least"), [(0.7, 0.03), (1.0, 0.25), (1.5, 0.7), (3.0, 0.98)])
def test_both_rates_hold_on_new_images(separation, least):
    """In nine of ten calibration sets, at most 5 % of real images are accused and 5 % of either verdict are wrong."""
    rng = np.random.default_rng(3)
    new, probabilities = optimal(rng, 50_000, separation)
    broken, shares = [], []
    for _ in range(100):
        labels, generated = optimal(rng, 600, separation)
        thresholds, shown = verdict_thresholds(generated, labels, max_wrong=0.05)
        assert 0 <= thresholds.real <= thresholds.generated <= 1
        called_generated, called_real = probabilities >= thresholds.generated, probabilities <= thresholds.real
        shares.append((called_generated | called_real).mean())
        if shown:
            rates = (
                called_generated[new == 0].mean(),
                (new == 0)[called_generated].mean(),
                (new == 1)[called_real].mean(),
            )
            broken.append(max(rates) > 0.05)
    assert sum(broken) / 100 <= 0.1, "the promise is for nine of ten"
    # A model that is good enough decides everything; a weak one still decides something.
    assert np.mean(shares) > least


def test_a_blind_model_is_promised_nothing():
    rng = np.random.default_rng(4)
    _, shown = verdict_thresholds(rng.random(400), rng.integers(0, 2, 400), max_wrong=0.05)
    assert not shown


def test_too_few_images_show_nothing():
    thresholds, shown = verdict_thresholds(np.array([0.001, 0.999]), np.array([0, 1]), max_wrong=0.05)
    assert not shown and thresholds.generated == 0.995


def test_held_out_real_images_tighten_the_thresholds():
    """Real images of unknown sources, of which a fifth look generated, are not called so more often than promised."""
    labels, generated = optimal(np.random.default_rng(5), 2000, 3.0)
    held_out = np.where(np.arange(500) % 5 == 0, 0.96, 0.1)
    loose, shown = verdict_thresholds(generated, labels, max_wrong=0.05)
    tight, still_shown = verdict_thresholds(generated, labels, (held_out, np.zeros(500, int)), max_wrong=0.05)
    assert shown and still_shown
    assert (held_out >= loose.generated).mean() == 0.2 and (held_out >= tight.generated).mean() == 0


def test_each_verdict_has_its_own_threshold():
    """A model that is surely wrong on some real images still calls others real as soon as it may."""
    labels, generated = optimal(np.random.default_rng(6), 4000, 2.0)
    accused = np.where((labels == 0) & (np.arange(len(labels)) % 40 == 0), 0.97, generated)
    thresholds, shown = verdict_thresholds(accused, labels)
    assert shown and thresholds.generated > 1 - thresholds.real + 0.05


def test_the_mix_of_classes_changes_nothing():
    """Ten times as many generated images do not make "real" look ten times as wrong."""
    labels, generated = optimal(np.random.default_rng(7), 20_000, 1.5)
    kept = (labels == 1) | (np.arange(len(labels)) % 10 == 0)
    alike, mixed = verdict_thresholds(generated, labels)[0], verdict_thresholds(generated[kept], labels[kept])[0]
    assert mixed.real == pytest.approx(alike.real, abs=0.08)
    assert mixed.generated == pytest.approx(alike.generated, abs=0.08)
