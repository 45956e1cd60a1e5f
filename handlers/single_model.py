"""The part that endpoints over one model share: prepare and infer. What is left to them is the answer."""

import torch

from handlers.base import BatchHandler
from handlers.classifier import Classifier
from handlers.decode import Picture


class SingleModelHandler(BatchHandler):
    """An endpoint whose output for an item is the logits (classes,) of its only model."""

    @property
    def classifier(self) -> Classifier:
        return self.classifiers[self.model_names[0]]

    def prepare(self, picture: Picture) -> torch.Tensor:
        return self.classifier.prepare(picture.image)

    def infer(self, prepared: list[torch.Tensor]) -> list[torch.Tensor]:
        return list(self.classifier.logits(self.classifier.features(prepared)).cpu())
