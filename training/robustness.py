"""How an authenticity model fares on worn pictures.

Two protocols: degraded (how far accuracy falls from clean to web, hard and screenshot) and stability (how often the
verdict turns from real to generated, or back, between a picture and a copy of it; uncertain is no turn).
"""

import numpy as np
import torch
from PIL import Image

from handlers.classifier import Classifier
from handlers.verdicts import verdict
from training.data import Record
from training.evaluate import predict
from training.metrics import balanced_accuracy, wilson_interval
from training.precision import bf16_is_fast
from training.transforms import EvaluationTransform
from training.wear import COPIES, DEGRADATIONS, Wear


class WornTransform:
    """The server's preprocessing of a picture after some wear."""

    def __init__(self, wear: Wear, evaluation: EvaluationTransform) -> None:
        self.wear, self.evaluation = wear, evaluation

    def __call__(self, image: Image.Image) -> torch.Tensor:
        return self.evaluation(self.wear(image))


def worn_logits(classifier: Classifier, items: list[tuple[Record, int]], wear: Wear, workers: int) -> torch.Tensor:
    """(N, classes) float32 logits of the items after this wear."""
    transform = WornTransform(wear, EvaluationTransform(classifier.card.preprocessing))
    return torch.from_numpy(predict(classifier, items, 32, workers, transform, bf16_is_fast(classifier.device)))


def score(classifier: Classifier, items: list[tuple[Record, int]], workers: int) -> dict[str, dict]:
    """Both protocols on these items: `degraded` and `stability`, by name of the wear."""
    labels = torch.tensor([label for _, label in items])

    def logits(wear: Wear) -> torch.Tensor:
        return worn_logits(classifier, items, wear, workers)

    def verdicts(worn: torch.Tensor) -> np.ndarray:
        generated = classifier.probabilities(worn)[:, 1].tolist()
        return np.array([verdict(probability, classifier.card.thresholds) for probability in generated])

    clean = logits(DEGRADATIONS["clean"])
    before = verdicts(clean)
    degraded, stability = {}, {}
    for name, wear in DEGRADATIONS.items():
        worn = clean if name == "clean" else logits(wear)
        degraded[name] = {"balanced_accuracy": balanced_accuracy(worn, labels)}
    for name, wear in COPIES.items():
        after = verdicts(logits(wear))
        flips = int(((before != after) & (before != "uncertain") & (after != "uncertain")).sum())
        stability[name] = {"flips": flips / len(items), "flips_95": wilson_interval(flips, len(items))}
    return {"count": len(items), "degraded": degraded, "stability": stability}
