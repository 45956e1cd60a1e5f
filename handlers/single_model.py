"""The part that endpoints over one model share. What is left to them is how logits become an answer."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from handlers.base import BatchHandler
from handlers.classifier import Classifier
from handlers.decode import Picture
from handlers.evidence import heatmap_answer
from handlers.heatmap import METHODS
from handlers.overlay import Frame, frame_of
from handlers.payload import Request
from handlers.preprocessing import picture_to_pixels


@dataclass(frozen=True)
class Explained:
    """What a request by /explanations asked for beside the answer: a map of which class, by which method."""

    frame: Frame
    class_name: str | None  # None: the class decided
    method: str


class SingleModelHandler(BatchHandler):
    """An endpoint over one model: /predictions gives its answer, /explanations the same and a heat map."""

    @property
    def classifier(self) -> Classifier:
        return self.classifiers[self.model_names[0]]

    def prepare(self, picture: Picture, request: Request) -> tuple[np.ndarray, Explained | None]:
        explained = None
        if request.explain:
            class_name = request.choice("class", ("decided", *self.classifier.card.classes), "decided")
            explained = Explained(
                frame=frame_of(picture, self.classifier.card.preprocessing.crop),
                class_name=None if class_name == "decided" else class_name,
                method=request.choice("method", METHODS, "gradcam"),
            )
        return picture_to_pixels(picture.image, self.classifier.card.preprocessing), explained

    def infer(self, prepared: list[tuple[np.ndarray, Explained | None]]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        pixels = np.stack([pixels for pixels, _ in prepared])
        features, logits = self.engine_of(self.classifier).score(pixels, [self.classifier])
        return list(zip(logits[self.classifier.card.name].cpu(), features, strict=True))

    def answer(
        self, prepared: tuple[np.ndarray, Explained | None], output: tuple[torch.Tensor, torch.Tensor]
    ) -> dict[str, Any]:
        (_, explained), (logits, features) = prepared, output
        answered = self.answer_logits(logits)
        if explained:
            class_name = explained.class_name or self.classifier.card.classes[int(logits.argmax())]
            heatmap = heatmap_answer(self.classifier, features, explained.frame, class_name, explained.method)
            answered |= {"heatmap": heatmap}
        return answered

    @abstractmethod
    def answer_logits(self, logits: torch.Tensor) -> dict[str, Any]:
        """The JSON answer to the logits (classes,) of one picture."""
