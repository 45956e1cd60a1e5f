"""What an adversary can do to a verdict.

Two kinds. Projected gradient descent (Madry et al. 2018, arXiv 1706.06083; ART's implementation) knows the weights and
changes the network's input by at most eps in every channel. The other kind only does what hides traces in practice:
blur, noise, recompression, resizing, a slight turn (training/wear.py).
"""

import numpy as np
import torch
from art.attacks.evasion import ProjectedGradientDescent
from art.estimators.classification import PyTorchClassifier
from torch import nn

from handlers.classifier import Classifier
from handlers.decode import decode
from handlers.preprocessing import picture_to_pixels
from training.data import Record
from training.metrics import wilson_interval
from training.robustness import worn_logits
from training.wear import HIDING

EPSILONS = (1, 2, 4, 8)  # of 255
STEPS = 10


class WholeNetwork(nn.Module):
    """Trunk and head of a classifier again in one piece, with gradients."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.trunk, self.head = classifier.trunk, classifier.head

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.head(self.trunk(pictures).mean(dim=(2, 3)))


def attack(
    classifier: Classifier, items: list[tuple[Record, int]], epsilons: tuple[int, ...] = EPSILONS
) -> dict[str, dict]:
    """Accuracy on these items, untouched ("0") and under PGD, by eps in 255ths, with counts and intervals."""
    preprocessing = classifier.card.preprocessing
    model = WholeNetwork(classifier).eval().requires_grad_(False)
    pixels = np.stack(
        [picture_to_pixels(decode(record.path.read_bytes()).image, preprocessing) for record, _ in items]
    )  # fmt: skip
    pictures = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).astype(np.float32) / 255
    labels = np.array([label for _, label in items])
    estimator = PyTorchClassifier(
        model=model,
        loss=nn.CrossEntropyLoss(),
        input_shape=pictures.shape[1:],
        nb_classes=len(classifier.card.classes),
        clip_values=(0.0, 1.0),
        preprocessing=tuple(np.array(x, np.float32).reshape(3, 1, 1) for x in (preprocessing.mean, preprocessing.std)),
        device_type="gpu" if classifier.device.type == "cuda" else "cpu",
    )
    figures = {}
    for eps in (0, *epsilons):
        attacked = pictures
        if eps:
            descent = ProjectedGradientDescent(
                estimator, eps=eps / 255, eps_step=2.5 * eps / 255 / STEPS, max_iter=STEPS, batch_size=16, verbose=False
            )
            attacked = descent.generate(pictures, y=labels)
        right = int((estimator.predict(attacked, batch_size=16).argmax(1) == labels).sum())
        figures[str(eps)] = {
            "count": len(items),
            "accuracy": right / len(items),
            "accuracy_95": wilson_interval(right, len(items)),
        }
    return figures


def hidden(classifier: Classifier, items: list[tuple[Record, int]], workers: int) -> dict[str, dict]:
    """How many of the generated pictures still pass for generated, and real ones for real, under each wear."""
    labels = np.array([label for _, label in items])
    figures = {}
    for name, wear in HIDING.items():
        right = worn_logits(classifier, items, wear, workers).argmax(1).numpy() == labels
        figures[name] = {
            "generated_right": float(right[labels == 1].mean()),
            "photographs_right": float(right[labels == 0].mean()),
        }
    return figures
