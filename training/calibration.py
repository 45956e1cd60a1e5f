"""Makes a model's probabilities honest, on pictures that neither trained nor chose it."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import binom
from torch.nn.functional import cross_entropy

from handlers.card import Thresholds

Answers = tuple[np.ndarray, np.ndarray]  # logits (N, classes) and the true classes' indices (N,)


def fit_temperature(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The temperature of least negative log likelihood (Guo et al. 2017, arXiv 1706.04599).

    logits (N, classes), labels (N,) class indices, weights (N,): how much each counts; alike where not given. One
    parameter, so the ranking of the classes stays.
    """
    scores, truth = torch.from_numpy(logits).double(), torch.from_numpy(labels)
    shares = (
        torch.full((len(labels),), 1 / len(labels)) if weights is None else torch.from_numpy(weights / weights.sum())
    )
    log_temperature = torch.zeros((), dtype=torch.double, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_temperature], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = (cross_entropy(scores / log_temperature.exp(), truth, reduction="none") * shares).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return float(log_temperature.detach().exp())


def fit_open_temperature(known: Answers, unseen: Sequence[Answers]) -> float:
    """The temperature for a model that will be asked about sources it knows and about ones that it does not, half each.

    known: its answers on the calibration split. unseen: answers of models of the same recipe on what was left out of
    their training, a set for each fold; the sets count alike. A temperature fitted on known sources alone makes a model
    surest where it errs most. Without unseen answers this is fit_temperature.
    """
    sets = [known, *unseen]
    shares = [1 / 2 if unseen else 1.0, *(1 / (2 * len(unseen)) for _ in unseen)]
    return fit_temperature(
        np.concatenate([logits for logits, _ in sets]),
        np.concatenate([labels for _, labels in sets]),
        np.concatenate(
            [np.full(len(labels), share / len(labels)) for share, (_, labels) in zip(shares, sets, strict=True)]
        ),
    )


CONFIDENCES = np.round(np.arange(0.995, 0.5, -0.005), 3)  # how sure a verdict may have to be, the strictest first


def verdict_thresholds(
    generated: np.ndarray,
    labels: np.ndarray,
    error: float,
    certainty: float = 0.9,
    strange_photographs: np.ndarray | None = None,
) -> tuple[Thresholds, bool]:
    """The loosest thresholds with which two rates stay within `error`: of photographs that are called generated, and of
    errors among the pictures decided. The second value says whether that could be shown.

    generated (N,): calibrated probabilities of being generated. labels (N,): 0 real, 1 generated. strange_photographs
    (M,): such probabilities of photographs from sources that the model which gave them had not seen; where given, of
    them too at most `error` may be called generated. Risk control in the
    conformal manner, without assumptions on the model (Angelopoulos et al. 2021, "Learn then Test", arXiv 2110.01052):
    confidences fixed beforehand are tried from the strictest on, and the first that a binomial test cannot clear of a
    higher rate ends the search (fixed-sequence testing). So all these rates hold at once, with this certainty over the
    draw of the calibration set, on pictures and a mix of classes like its own, and on no others. Where not even the
    first is cleared, for want of pictures or of a better model, that one is taken and nothing is promised.
    """
    photographs = labels == 0
    sureness = np.maximum(generated, 1 - generated)
    # A single error among few decided pictures would end the search at once. How many are decided says nothing of their
    # errors, so the sequence may begin where it is a fifth; and fewer than the second could not be cleared at all.
    needed = max(len(labels) / 5, np.log(1 - certainty) / np.log(1 - error))
    tried = [confidence for confidence in CONFIDENCES if (sureness >= confidence).sum() >= needed]
    chosen = None
    for confidence in tried:
        called_generated, called_real = generated >= confidence, generated <= 1 - confidence
        accused = int((called_generated & photographs).sum())
        wrong = accused + int((called_real & ~photographs).sum())
        decided = int((called_generated | called_real).sum())
        chance = max(binom.cdf(accused, int(photographs.sum()), error), binom.cdf(wrong, decided, error))
        if strange_photographs is not None:
            strange = int((strange_photographs >= confidence).sum())
            chance = max(chance, binom.cdf(strange, len(strange_photographs), error))
        if chance > 1 - certainty:
            break
        chosen = confidence
    confidence = float(chosen or (tried or CONFIDENCES)[0])
    return Thresholds(real=round(1 - confidence, 4), generated=confidence), chosen is not None
