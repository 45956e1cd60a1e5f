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

    def initialize(self, context) -> None:
        super().initialize(context)
        authenticity, generator_type = self.classifiers.values()
        # Trained as two heads on one trunk, the models need it run only once.
        self.one_trunk = authenticity.sees_the_same_as(generator_type)

    def prepare(self, picture: Picture) -> Prepared:
        seen_by = ["authenticity"] if self.one_trunk else list(self.classifiers)
        return self.Prepared(
            tensors={name: self.classifiers[name].prepare(picture.image) for name in seen_by},
            thumbnail=thumbnail(picture.image),
            view=central_view(*picture.image.size),
            full_size=picture.image.size,
            facts=file_facts(picture),
        )

    def infer(self, prepared: list[Prepared]) -> list[Output]:
        features = {
            name: self.classifiers[name].features([item.tensors[name] for item in prepared])
            for name in prepared[0].tensors
        }
        logits = {
            name: classifier.logits(features["authenticity" if self.one_trunk else name]).cpu()
            for name, classifier in self.classifiers.items()
        }
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
