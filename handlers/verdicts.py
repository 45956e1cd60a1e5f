"""Turns a model's logits into the members of an answer."""

from typing import Any

import torch

from handlers.card import Thresholds
from handlers.classifier import Classifier


def authenticity_answer(classifier: Classifier, logits: torch.Tensor, engine: str) -> dict[str, Any]:
    """Answer with label, probability, confidence and verdict, for the logits (2,) of real and generated.

    engine: the name of what computed them.
    """
    real, generated = classifier.probabilities(logits).tolist()
    thresholds = classifier.card.thresholds
    return {
        "label": "generated" if generated > real else "real",
        "probability_generated": round(generated, 6),
        "confidence": round(max(real, generated), 6),
        "verdict": verdict(generated, thresholds),
        "thresholds": vars(thresholds),
        **_origin(classifier, logits, engine),
    }


def verdict(probability_generated: float, thresholds: Thresholds) -> str:
    """One of "real", "uncertain" and "generated"."""
    if probability_generated >= thresholds.generated:
        return "generated"
    return "real" if probability_generated <= thresholds.real else "uncertain"


def generator_type_answer(classifier: Classifier, logits: torch.Tensor, engine: str) -> dict[str, Any]:
    """Answer with the likeliest family and the probability of each, for the logits (4,) of the card's classes."""
    by_family = dict(zip(classifier.card.classes, classifier.probabilities(logits).tolist(), strict=True))
    family = max(by_family, key=by_family.get)
    return {
        "family": family,
        "confidence": round(by_family[family], 6),
        "probabilities": {name: round(value, 6) for name, value in by_family.items()},
        **_origin(classifier, logits, engine),
    }


def _origin(classifier: Classifier, logits: torch.Tensor, engine: str) -> dict[str, Any]:
    card = classifier.card
    return {
        "logits": dict(zip(card.classes, (round(value, 6) for value in logits.tolist()), strict=True)),
        "model": {
            "name": card.name,
            "version": card.version,
            "weights_sha256": card.weights_sha256,
            "engine": engine,
        },
    }
