"""What an adversary can do to the authenticity model.

With the weights: projected gradient descent (Madry et al. 2018, arXiv 1706.06083) by the Adversarial Robustness
Toolbox, which changes the network's input by at most eps a channel. Without them: evasion by post-processing, what
hides traces in practice (evaluation.corruptions.EVASION).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from art.attacks.evasion import ProjectedGradientDescent
from art.estimators.classification import PyTorchClassifier
from torch import nn

from evaluation.corruptions import EVASION
from evaluation.metrics import rate_of
from evaluation.predict import read_views
from evaluation.robustness import TASK, generated_probability
from imagetrust.models.model import Model
from imagetrust.runtime.engine import Engine
from training.data import Record, label_of

EPSILONS = (1, 2, 4, 8)  # of 255
_STEPS = 10
_BATCH = 16


class Classifier(nn.Module):
    """Backbone and one head in one piece: normalised images (N, 3, size, size) to logits (N, classes)."""

    def __init__(self, model: Model, task: str) -> None:
        super().__init__()
        self.network = model.network
        self.head = model.heads[task].requires_grad_(False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        logits: torch.Tensor = self.head(self.network(images)[1])
        return logits


def gradient_attack(
    model: Model, records: Sequence[Record], epsilons: Sequence[int] = EPSILONS
) -> dict[str, dict[str, Any]]:
    """Return the accuracy on these images, untouched ("0") and attacked, by eps in 255ths.

    The first view of each image is attacked and scored; it holds most of the image.
    """
    preprocessing = model.config.preprocessing
    pixels = np.stack([read_views(record, preprocessing)[0] for record in records])
    images = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).astype(np.float32) / 255
    labels = np.array([label_of(record, TASK) for record in records])
    estimator = PyTorchClassifier(
        model=Classifier(model, TASK).eval(),
        loss=nn.CrossEntropyLoss(),
        input_shape=images.shape[1:],
        nb_classes=len(model.config.heads[TASK].classes),
        clip_values=(0.0, 1.0),
        preprocessing=tuple(np.array(x, np.float32).reshape(3, 1, 1) for x in (preprocessing.mean, preprocessing.std)),
        device_type="gpu" if model.device.type == "cuda" else "cpu",
    )
    rows = {}
    for eps in (0, *epsilons):
        attacked = images
        if eps:
            descent = ProjectedGradientDescent(
                estimator,
                eps=eps / 255,
                eps_step=2.5 * eps / 255 / _STEPS,
                max_iter=_STEPS,
                batch_size=_BATCH,
                verbose=False,
            )
            attacked = descent.generate(images, y=labels)
        rows[str(eps)] = {"accuracy": rate_of(estimator.predict(attacked, batch_size=_BATCH).argmax(1) == labels)}
    return rows


def evasion(engine: Engine, records: Sequence[Record], workers: int = 0) -> dict[str, dict[str, Any]]:
    """Return the recalls of real and of generated images after each post-processing."""
    labels = np.array([label_of(record, TASK) for record in records])
    rows = {}
    for name, corruption in EVASION.items():
        generated = generated_probability(engine, records, corruption, workers)
        rows[name] = {
            "real": rate_of(generated[labels == 0] <= 0.5),
            "generated": rate_of(generated[labels == 1] > 0.5),
        }
    return rows
