"""Temperature scaling and verdict thresholds with risk control, on images that neither trained nor chose the model."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import binom

from imagetrust.models.config import Thresholds

Predictions = tuple[np.ndarray, np.ndarray]  # logits (N, classes) and the true classes' indices (N,)
MAX_FALSE_POSITIVES = 0.05  # of real images, called generated
MAX_WRONG = 0.08  # of the decided
CONFIDENCES = np.round(np.arange(0.995, 0.5, -0.005), 3)  # how sure a verdict may have to be, the strictest first


def fit_temperature(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the temperature of least negative log likelihood (Guo et al. 2017, arXiv 1706.04599).

    logits: (N, classes). labels: (N,) class indices. weights: (N,), how much each image counts; alike where not given.
    """
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        likelihoods = log_softmax(logits.astype(float) / np.exp(log_temperature), axis=1)[rows, labels]
        return -float(np.average(likelihoods, weights=weights))

    return float(np.exp(minimize_scalar(loss, bounds=(-4, 6), method="bounded", options={"xatol": 1e-8}).x))


def fit_open_temperature(known: Predictions, held_out: Sequence[Predictions]) -> float:
    """Return the temperature for a model that is asked about known sources and unknown ones, half each.

    known: its predictions on the calibration split. held_out: predictions of models of the same recipe on groups that
    were left out of their training; the groups count alike. A temperature fitted on known sources alone makes a model
    surest where it errs most. Without held-out predictions this is fit_temperature.
    """
    sets = [known, *held_out]
    shares = [1 / 2 if held_out else 1.0, *(1 / (2 * len(held_out)) for _ in held_out)]
    return fit_temperature(
        np.concatenate([logits for logits, _ in sets]),
        np.concatenate([labels for _, labels in sets]),
        np.concatenate(
            [np.full(len(labels), share / len(labels)) for share, (_, labels) in zip(shares, sets, strict=True)]
        ),
    )


def probability_generated(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Return (N,) the calibrated probability of being generated, from authenticity's logits (N, 2)."""
    return softmax(logits.astype(float) / temperature, axis=1)[:, 1]


def verdict_thresholds(
    generated: np.ndarray,
    labels: np.ndarray,
    held_out: tuple[np.ndarray, np.ndarray] | None = None,
    max_false_positives: float = MAX_FALSE_POSITIVES,
    max_wrong: float = MAX_WRONG,
    certainty: float = 0.9,
) -> tuple[Thresholds, bool]:
    """Return the loosest thresholds under which two rates stay within limits, and whether that could be shown.

    The rates are the false positive rate, of real images called generated, and the selective risk, of errors among the
    decided. generated: (N,) calibrated probabilities. labels: (N,), 0 real, 1 generated. held_out: such probabilities
    and labels of images from sources that the models which gave them had not seen; where given, the rates stay within
    the limits on these too, the selective risk where these are of both classes. Risk control in the conformal manner,
    without assumptions on the model (Angelopoulos et al. 2021, "Learn then Test", arXiv 2110.01052): confidences fixed
    beforehand are tried from the strictest on, and the first that a binomial test cannot clear of a higher rate ends
    the search (fixed-sequence testing). So all rates hold at once, with this certainty over the draw of the images, on
    images and a mix of classes like theirs, and on no others. Where not even the first is cleared, for want of images
    or of a better model, that one is taken and nothing is promised.
    """
    sets = [(generated, labels), *([held_out] if held_out else [])]
    # A single error among few decided images would end the search at once. How many are decided says nothing of their
    # errors, so the sequence may begin where it is a fifth; and fewer than the second could not be cleared at all.
    fewest = np.log(1 - certainty) / np.log(1 - min(max_false_positives, max_wrong))
    tried = [
        confidence
        for confidence in CONFIDENCES
        if all(
            (np.maximum(given, 1 - given) >= confidence).sum() >= max(len(given) / 5, fewest)
            for given, classes in sets
            if len(np.unique(classes)) == 2
        )
    ]
    chosen = None
    for confidence in tried:
        chances = [_chance(*one, confidence, max_false_positives, max_wrong) for one in sets]
        if max(chances) > 1 - certainty:
            break
        chosen = confidence
    confidence = float(chosen or (tried or CONFIDENCES)[0])
    return Thresholds(real=round(1 - confidence, 4), generated=confidence), chosen is not None


def _chance(
    generated: np.ndarray, labels: np.ndarray, confidence: float, max_false_positives: float, max_wrong: float
) -> float:
    """Return the larger of the chances of so few false positives, and of so few errors, were the rates at the limits.

    generated: (N,) calibrated probabilities. labels: (N,), 0 real, 1 generated.
    """
    real = labels == 0
    called_generated, called_real = generated >= confidence, generated <= 1 - confidence
    false_positives = int((called_generated & real).sum())
    wrong = false_positives + int((called_real & ~real).sum())
    decided = int((called_generated | called_real).sum())
    chance = float(binom.cdf(false_positives, int(real.sum()), max_false_positives))
    return chance if real.all() else max(chance, float(binom.cdf(wrong, decided, max_wrong)))
