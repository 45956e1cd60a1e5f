"""Makes a model's probabilities honest, on pictures that neither trained nor chose it."""

import numpy as np
import torch
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


def conformal_thresholds(generated: np.ndarray, labels: np.ndarray, error: float) -> Thresholds:
    """Thresholds for which a new photograph is called generated, or a new generated picture real, at most `error`
    of the time: class-conditional split conformal prediction (Vovk 2012, arXiv 1209.2673).

    generated (N,): calibrated probabilities of being generated. labels (N,): 0 real, 1 generated. The guarantee is
    over pictures drawn like the calibration set, and no others. Where the model is good enough to decide every
    picture within `error`, both thresholds meet in the middle.
    Raises ValueError where a class has too few pictures to guarantee anything.
    """
    upper = _exceeded_by(generated[labels == 0], error)
    lower = 1 - _exceeded_by(1 - generated[labels == 1], error)
    if lower >= upper:
        lower = upper = (lower + upper) / 2
    # Rounded away from the middle, so that the guarantee survives.
    return Thresholds(real=np.floor(lower * 1e4).item() / 1e4, generated=np.ceil(upper * 1e4).item() / 1e4)


def _exceeded_by(scores: np.ndarray, error: float) -> float:
    """The smallest value that a new score reaches with a probability of at most `error`."""
    allowed = int(np.floor(error * (len(scores) + 1))) - 1  # how many of the known scores may reach it
    if allowed < 0:
        raise ValueError(f"{len(scores)} pictures cannot guarantee an error of {error:.0%}")
    return float(np.nextafter(np.sort(scores)[::-1][allowed], 1))
