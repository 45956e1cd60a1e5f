"""The endpoint `explanation`: both verdicts, where the evidence lies, and what the file says of itself."""

from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from handlers.base import BatchHandler
from handlers.decode import Picture
from handlers.file_facts import file_facts
from handlers.heatmap import grad_cam, overlay_png, thumbnail
from handlers.preprocessing import View, central_view
from handlers.verdicts import authenticity_answer, generator_type_answer


class Explanation(BatchHandler):
    """Answers with what the two other endpoints say, a Grad-CAM heat map for the label, and the file's facts."""

    model_names = ("authenticity", "generator_type")

    # Nested because TorchServe wants one class at the top of a handler's module.
    @dataclass(frozen=True)
    class Prepared:
        """What is kept of a picture until its answer: the full-size pixels are let go."""

        tensors: dict[str, torch.Tensor]
        thumbnail: Image.Image
        view: View
        full_size: tuple[int, int]
        facts: dict[str, Any]

    @dataclass(frozen=True)
    class Output:
        """The logits of both models, and the authenticity model's features."""

        authenticity: torch.Tensor
        generator_type: torch.Tensor
        features: torch.Tensor

    def prepare(self, picture: Picture) -> Prepared:
        return self.Prepared(
            tensors={name: classifier.prepare(picture.image) for name, classifier in self.classifiers.items()},
            thumbnail=thumbnail(picture.image),
            view=central_view(*picture.image.size),
            full_size=picture.image.size,
            facts=file_facts(picture),
        )

    def infer(self, prepared: list[Prepared]) -> list[Output]:
        logits, features = {}, {}
        for name, classifier in self.classifiers.items():
            features[name] = classifier.features([item.tensors[name] for item in prepared])
            logits[name] = classifier.logits(features[name]).cpu()
        return [
            self.Output(*results)
            for results in zip(logits["authenticity"], logits["generator_type"], features["authenticity"], strict=True)
        ]

    def answer(self, prepared: Prepared, output: Output) -> dict[str, Any]:
        classifier = self.classifiers["authenticity"]
        authenticity = authenticity_answer(classifier, output.authenticity)
        heat = grad_cam(output.features, classifier.head, classifier.card.classes.index(authenticity["label"]))
        return {
            "authenticity": authenticity,
            "generator_type": generator_type_answer(self.classifiers["generator_type"], output.generator_type),
            "heatmap": {
                "method": "gradcam",
                "model": "authenticity",
                "class": authenticity["label"],
                "rows": heat.shape[0],
                "columns": heat.shape[1],
                "values": [[round(float(value), 4) for value in row] for row in heat],
                "view": vars(prepared.view),
                "overlay_png": overlay_png(prepared.thumbnail, heat, prepared.view, prepared.full_size),
            },
            "file": prepared.facts,
        }
