"""Makes a model's probabilities honest, on pictures that neither trained nor chose it."""

import numpy as np
import torch
from scipy.stats import binom
from torch.nn.functional import cross_entropy

from handlers.card import Thresholds


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature of least negative log likelihood (Guo et al. 2017, arXiv 1706.04599).

    logits (N, classes), labels (N,) class indices. One parameter, so the ranking of the classes stays.
    """
    scores, truth = torch.from_numpy(logits).double(), torch.from_numpy(labels)
    log_temperature = torch.zeros((), dtype=torch.double, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_temperature], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = cross_entropy(scores / log_temperature.exp(), truth)
        loss.backward()
        return loss

    optimiser.step(closure)
    return float(log_temperature.detach().exp())


CONFIDENCES = np.round(np.arange(0.995, 0.5, -0.005), 3)  # how sure a verdict may have to be, the strictest first


def verdict_thresholds(
    generated: np.ndarray, labels: np.ndarray, error: float, certainty: float = 0.9
) -> tuple[Thresholds, bool]:
    """The loosest thresholds with which two rates stay within `error`: of photographs that are called generated, and of
    errors among the pictures decided. The second value says whether that could be shown.

    generated (N,): calibrated probabilities of being generated. labels (N,): 0 real, 1 generated. Risk control in the
    conformal manner, without assumptions on the model (Angelopoulos et al. 2021, "Learn then Test", arXiv 2110.01052):
    confidences fixed beforehand are tried from the strictest on, and the first that a binomial test cannot clear of a
    higher rate ends the search (fixed-sequence testing). So both rates hold at once, with this certainty over the draw
    of the calibration set, on pictures and a mix of classes like its own, and on no others. Where not even the first is
    cleared, for want of pictures or of a better model, that one is taken and nothing is promised.
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
        if chance > 1 - certainty:
            break
        chosen = confidence
    confidence = float(chosen or (tried or CONFIDENCES)[0])
    return Thresholds(real=round(1 - confidence, 4), generated=confidence), chosen is not None
