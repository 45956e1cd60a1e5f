"""Temperature, bias and verdict thresholds with risk control, on images that neither trained nor chose the model."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import binom

from imagetrust.models.config import Thresholds

Predictions = tuple[np.ndarray, np.ndarray]  # logits (N, classes) and the true classes' indices (N,)
MAX_FALSE_POSITIVES = 0.05  # of real images, called generated
MAX_WRONG = 0.12  # of either verdict, where both classes are as many
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


def fit_real_bias(sets: Sequence[Predictions], temperature: float) -> float:
    """Return what to add to the logit of real images, so that neither they nor generated ones are likelier mistaken.

    Of the choice between real and the likeliest kind of generated it has the least negative log likelihood at this
    temperature, with both sides of each set alike, and the sets: bias-corrected temperature scaling (Alexandari et al.
    2020, arXiv 1901.06852) with one bias. sets: logits (N, classes), real first, and labels (N,) of images like those
    that the model will be asked about.
    """

    def loss(bias: float) -> float:
        losses = []
        for logits, labels in sets:
            odds = (logits[:, 1:].max(axis=1).astype(float) - logits[:, 0] - bias) / temperature
            sides = [np.logaddexp(0, sign * odds[(labels == 0) == (sign > 0)]) for sign in (1, -1)]
            losses.append(np.mean([side.mean() for side in sides if len(side)]))
        return float(np.mean(losses))

    return float(minimize_scalar(loss, bounds=(-5, 5), method="bounded", options={"xatol": 1e-8}).x)


def with_real_bias(logits: np.ndarray, bias: float) -> np.ndarray:
    """Return logits (N, classes), real first, with a bias added to that of real images."""
    return logits + bias * (np.arange(logits.shape[1]) == 0)


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
    """Return the loosest thresholds under which rates stay within limits, and whether that could be shown.

    The rates are the false positive rate, of real images called generated, and of each verdict the share that is wrong
    where both classes are as many. generated: (N,) calibrated probabilities. labels: (N,), 0 real, 1 generated.
    held_out: such probabilities and labels of images from sources that the models which gave them had not seen; where
    given, the rates stay within the limits on these too, the verdicts' where these are of both classes. Risk control in
    the conformal manner, without assumptions on the model (Angelopoulos et al. 2021, "Learn then Test", arXiv
    2110.01052): for each verdict, confidences fixed beforehand are tried from the strictest on, and the first that a
    binomial test cannot clear of a higher rate ends the search (fixed-sequence testing); the two verdicts share the
    uncertainty. So all rates hold at once, with this certainty over the draw of the images, on images like theirs, and
    on no others. Where not even the first is cleared, for want of images or of a better model, that one is taken and
    nothing is promised.
    """
    sets = [_balanced(*one) for one in ((generated, labels), *([held_out] if held_out else []))]
    risk = (1 - certainty) / 2
    called_generated, generated_holds = _loosest(sets, 1, risk, max_wrong, max_false_positives)
    called_real, real_holds = _loosest([(1 - given, classes) for given, classes in sets], 0, risk, max_wrong)
    return Thresholds(real=round(1 - called_real, 4), generated=called_generated), generated_holds and real_holds


def _balanced(generated: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return as many images of either class, drawn at random from the larger; all where there is one class."""
    classes = [np.flatnonzero(labels == label) for label in (0, 1)]
    fewest = min(map(len, classes))
    if not fewest:
        return generated, labels
    kept = np.concatenate([np.random.default_rng(0).permutation(rows)[:fewest] for rows in classes])
    return generated[kept], labels[kept]


def _loosest(
    sets: list[tuple[np.ndarray, np.ndarray]],
    called: int,
    risk: float,
    max_wrong: float,
    max_false_positives: float | None = None,
) -> tuple[float, bool]:
    """Return the least confidence at which images may be called of a class, and whether its rates could be shown.

    sets: of (N,) probabilities of that class and (N,) labels. max_false_positives: of the other class, called so.
    """
    # A single error among few images called so would end the search at once. How many are called so says nothing of
    # their errors, so the sequence may begin where it is a tenth; and fewer than the second could not be cleared.
    fewest = np.log(risk) / np.log(1 - max_wrong)
    tried = [
        confidence
        for confidence in CONFIDENCES
        if all((given >= confidence).sum() >= max(len(given) / 10, fewest) for given, classes in sets if _both(classes))
    ]
    chosen = None
    for confidence in tried:
        chances = []
        for given, classes in sets:
            wrong = int(((given >= confidence) & (classes != called)).sum())
            if max_false_positives is not None:
                chances.append(binom.cdf(wrong, int((classes != called).sum()), max_false_positives))
            if _both(classes):
                chances.append(binom.cdf(wrong, int((given >= confidence).sum()), max_wrong))
        if max(chances) > risk:
            break
        chosen = confidence
    return float(chosen or (tried or CONFIDENCES)[0]), chosen is not None


def _both(classes: np.ndarray) -> bool:
    return len(np.unique(classes)) == 2
