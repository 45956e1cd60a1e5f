"""The endpoint `explanation`: what the pixels say and where, what the file declares, and how the two go together."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from handlers.base import BatchHandler
from handlers.decode import Picture
from handlers.evidence import heatmap_answer
from handlers.file_facts import file_facts
from handlers.heatmap import METHODS
from handlers.overlay import Frame, frame_of
from handlers.payload import Request
from handlers.preprocessing import picture_to_pixels
from handlers.verdicts import authenticity_answer, generator_type_answer
from imagetrust.provenance import allowed_origins, read_declarations, summarise

TRUST_ANCHORS = "trust_anchors.pem"  # in the archive, where the operator named some when building it
DETAILS = ("full", "verdicts")  # the option `detail`: verdicts alone cost little more than one of the two
DECIDED = "decided"  # the option `class`: the class that the authenticity model decides for


class Explanation(BatchHandler):
    """Answers with what the two other endpoints say, a heat map of the evidence, and the file's declarations.

    What is declared and what is inferred stay apart: neither changes the other.
    """

    model_names = ("authenticity", "generator_type")

    # Nested because TorchServe wants one class at the top of a handler's module.
    @dataclass(frozen=True)
    class Evidence:
        """What a full answer needs of a picture beside its pixels: the full-size ones are let go."""

        frame: Frame
        facts: dict[str, Any]
        declared: dict[str, Any]
        class_name: str
        method: str

    @dataclass(frozen=True)
    class Prepared:
        """What is kept of a picture until its answer. pixels: the input of each trunk, by its id."""

        pixels: dict[str, np.ndarray]
        evidence: "Explanation.Evidence | None"  # None where only the verdicts are wanted

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
        # Each class belongs to one model. "real" is a class of both: the model that gives the verdict explains it.
        self.model_of_class = {
            class_name: classifier.card.name
            for classifier in (generator_type, authenticity)
            for class_name in classifier.card.classes
        }

    def prepare(self, picture: Picture, request: Request) -> Prepared:
        pixels = {
            classifier.trunk_id: picture_to_pixels(picture.image, classifier.card.preprocessing)
            for classifier in {one.trunk_id: one for one in self.classifiers.values()}.values()
        }
        if request.choice("detail", DETAILS, "full") == "verdicts":
            return self.Prepared(pixels, None)
        evidence = self.Evidence(
            frame=frame_of(picture, self.classifiers["authenticity"].card.preprocessing.crop),
            facts=file_facts(picture),
            class_name=request.choice("class", (DECIDED, *self.model_of_class), DECIDED),
            method=request.choice("method", METHODS, "gradcam"),
            # After the options: a request that is refused makes no host be asked.
            declared=read_declarations(
                request.picture,
                picture,
                include_places=request.choice("place", ("hidden", "shown"), "hidden") == "shown",
                trust_anchors=self.trust_anchors,
                manifest_hosts=self.manifest_hosts,
            ),
        )
        return self.Prepared(pixels, evidence)

    def infer(self, prepared: list[Prepared]) -> list[Output]:
        features, logits = {}, {}
        for trunk_id, engine in self.engines.items():
            heads = [one for one in self.classifiers.values() if one.trunk_id == trunk_id]
            seen, by_head = engine.score(np.stack([item.pixels[trunk_id] for item in prepared]), heads)
            features |= {one.card.name: seen for one in heads}
            logits |= {name: rows.cpu() for name, rows in by_head.items()}
        return [
            self.Output(
                {name: rows[index] for name, rows in logits.items()},
                {name: rows[index] for name, rows in features.items()},
            )
            for index in range(len(prepared))
        ]

    def answer(self, prepared: Prepared, output: Output) -> dict[str, Any]:
        inferred = {
            name: answered(self.classifiers[name], output.logits[name], self.engine_of(self.classifiers[name]).name)
            for name, answered in (("authenticity", authenticity_answer), ("generator_type", generator_type_answer))
        }
        authenticity = inferred["authenticity"]
        evidence = prepared.evidence
        if evidence is None:
            return {"inferred": inferred}
        class_name = authenticity["label"] if evidence.class_name == DECIDED else evidence.class_name
        model = self.model_of_class[class_name]
        heatmap = heatmap_answer(
            self.classifiers[model], output.features[model], evidence.frame, class_name, evidence.method
        )
        return {
            "summary": summarise(evidence.declared, authenticity["verdict"]),
            "inferred": inferred | {"heatmap": heatmap},
            "declared": evidence.declared,
            "file": evidence.facts,
        }
