"""A model's logits as the members of an answer."""

from typing import Any

import torch

from imagetrust.models.model import Model


def authenticity_answer(model: Model, logits: torch.Tensor, engine: str) -> dict[str, Any]:
    """Return label, probability, confidence and verdict for the logits (2,) of real and generated.

    engine: the name of what computed them.
    """
    real, generated = model.probabilities("authenticity", logits).tolist()
    thresholds = model.config.heads["authenticity"].thresholds
    assert thresholds is not None  # ModelConfig.read refuses such a model
    return {
        "label": "generated" if generated > real else "real",
        "probability_generated": round(generated, 6),
        "confidence": round(max(real, generated), 6),
        "verdict": thresholds.verdict(generated),
        "thresholds": {"real": thresholds.real, "generated": thresholds.generated},
        **_origin(model, "authenticity", logits, engine),
    }


def generator_type_answer(model: Model, logits: torch.Tensor, engine: str) -> dict[str, Any]:
    """Return the likeliest family and the probability of each for the logits (4,) of the head's classes."""
    classes = model.config.heads["generator_type"].classes
    probabilities = dict(zip(classes, model.probabilities("generator_type", logits).tolist(), strict=True))
    family = max(probabilities, key=probabilities.__getitem__)
    return {
        "family": family,
        "confidence": round(probabilities[family], 6),
        "probabilities": {name: round(value, 6) for name, value in probabilities.items()},
        **_origin(model, "generator_type", logits, engine),
    }


ANSWERS = {"authenticity": authenticity_answer, "generator_type": generator_type_answer}


def _origin(model: Model, task: str, logits: torch.Tensor, engine: str) -> dict[str, Any]:
    config = model.config
    values = (round(value, 6) for value in logits.tolist())
    return {
        "logits": dict(zip(config.heads[task].classes, values, strict=True)),
        "model": {
            "name": task,
            "version": config.version,
            "weights_sha256": config.weights_sha256,
            "engine": engine,
        },
    }
