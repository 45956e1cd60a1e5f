"""The endpoint `explanation`: what the pixels say and where, what the file declares, and how the two go together."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from handlers.base import BatchHandler
from handlers.declared import allowed_origins, read_declarations, summarise
from handlers.decode import Picture
from handlers.evidence import heatmap_answer
from handlers.file_facts import file_facts
from handlers.heatmap import METHODS
from handlers.overlay import Frame, frame_of
from handlers.payload import Request
from handlers.verdicts import authenticity_answer, generator_type_answer

TRUST_ANCHORS = "trust_anchors.pem"  # in the archive, where the operator named some when building it
DECIDED = "decided"  # the option `class`: the class that the authenticity model decides for


class Explanation(BatchHandler):
    """Answers with what the two other endpoints say, a heat map of the evidence, and the file's declarations.

    What is declared and what is inferred stay apart: neither changes the other.
    """

    model_names = ("authenticity", "generator_type")

    # Nested because TorchServe wants one class at the top of a handler's module.
    @dataclass(frozen=True)
    class Prepared:
        """What is kept of a picture until its answer: the full-size pixels are let go."""

        tensors: dict[str, torch.Tensor]
        frame: Frame
        facts: dict[str, Any]
        declared: dict[str, Any]
        class_name: str
        method: str

    @dataclass(frozen=True)
    class Output:
        """The logits of both models, and the features that each saw, by the model's name."""

        logits: dict[str, torch.Tensor]
        features: dict[str, torch.Tensor]

    def initialize(self, context) -> None:
        super().initialize(context)
        anchors = Path(context.system_properties["model_dir"]) / TRUST_ANCHORS
        self.trust_anchors = anchors.read_text() if anchors.exists() else None
        settings = (context.model_yaml_config or {}).get("handler", {})
        self.manifest_hosts = allowed_origins(settings.get("manifest_hosts") or ())
        authenticity, generator_type = self.classifiers.values()
        # Trained as two heads on one trunk, the models need it run only once.
        self.one_trunk = authenticity.sees_the_same_as(generator_type)
        # Each class belongs to one model. "real" is a class of both: the model that gives the verdict explains it.
        self.model_of_class = {
            class_name: classifier.card.name
            for classifier in (generator_type, authenticity)
            for class_name in classifier.card.classes
        }

    def prepare(self, picture: Picture, request: Request) -> Prepared:
        seen_by = ["authenticity"] if self.one_trunk else list(self.classifiers)
        return self.Prepared(
            tensors={name: self.classifiers[name].prepare(picture.image) for name in seen_by},
            frame=frame_of(picture.image, self.classifiers["authenticity"].card.preprocessing.crop),
            facts=file_facts(picture),
            class_name=request.choice("class", (DECIDED, *self.model_of_class), DECIDED),
            method=request.choice("method", METHODS, "gradcam"),
            # After the options: a request that is refused makes no host be asked.
            declared=read_declarations(
                request.picture,
                picture,
                include_gps=request.choice("place", ("hidden", "shown"), "hidden") == "shown",
                trust_anchors=self.trust_anchors,
                manifest_hosts=self.manifest_hosts,
            ),
        )

    def infer(self, prepared: list[Prepared]) -> list[Output]:
        features = {
            name: self.classifiers[name].features([item.tensors[name] for item in prepared])
            for name in prepared[0].tensors
        }
        if self.one_trunk:
            features["generator_type"] = features["authenticity"]
        logits = {name: classifier.logits(features[name]).cpu() for name, classifier in self.classifiers.items()}
        return [
            self.Output(
                {name: rows[index] for name, rows in logits.items()},
                {name: rows[index] for name, rows in features.items()},
            )
            for index in range(len(prepared))
        ]

    def answer(self, prepared: Prepared, output: Output) -> dict[str, Any]:
        authenticity = authenticity_answer(self.classifiers["authenticity"], output.logits["authenticity"])
        class_name = authenticity["label"] if prepared.class_name == DECIDED else prepared.class_name
        model = self.model_of_class[class_name]
        return {
            "summary": summarise(prepared.declared, authenticity["verdict"]),
            "inferred": {
                "authenticity": authenticity,
                "generator_type": generator_type_answer(
                    self.classifiers["generator_type"], output.logits["generator_type"]
                ),
                "heatmap": heatmap_answer(
                    self.classifiers[model], output.features[model], prepared.frame, class_name, prepared.method
                ),
            },
            "declared": prepared.declared,
            "file": prepared.facts,
        }
