"""The card that travels with a model's weights and says all that is needed to run them right.

Training writes it, release completes it, and archives, handlers and tests read it: sizes, classes, thresholds
and calibration are repeated nowhere else.
"""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes the network's input.

    size: side of the square input, in pixels.
    crop: share of a picture's shorter side that the central square takes.
    interpolation: a name of PIL.Image.Resampling, in lower case.
    mean, std: per channel (R, G, B), on pixel values scaled to 0..1.
    """

    size: int
    crop: float
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Thresholds:
    """Where the verdict changes, on the calibrated probability of being generated.

    At or above `generated` the verdict is "generated", at or below `real` it is "real", between them "uncertain".
    """

    real: float
    generated: float


@dataclass(frozen=True)
class Card:
    """One released model. `temperature` divides the logits before softmax (Guo et al. 2017, arXiv 1706.04599)."""

    name: str
    version: str
    architecture: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    temperature: float
    thresholds: Thresholds | None
    weights_sha256: str


def check_servable(card: Card) -> None:
    """Raise ValueError where a card lacks the thresholds that its model's verdict needs: training leaves them open."""
    if "generated" in card.classes and card.thresholds is None:
        raise ValueError(
            f"{card.name}.json has no thresholds: training.release sets them, before that nothing is served"
        )


def read_card(path: Path) -> Card:
    """Reads a card file.

    Raises ValueError, naming the file and the field, where one is missing or does not fit.
    """
    try:
        fields = json.loads(path.read_text())
        thresholds = fields["thresholds"]
        preprocessing = dict(fields["preprocessing"])
        for statistic in ("mean", "std"):
            preprocessing[statistic] = tuple(preprocessing[statistic])
        card = Card(
            name=fields["name"],
            version=fields["version"],
            architecture=fields["architecture"],
            classes=tuple(fields["classes"]),
            preprocessing=Preprocessing(**preprocessing),
            temperature=float(fields["temperature"]),
            thresholds=Thresholds(**thresholds) if thresholds else None,
            weights_sha256=fields["weights_sha256"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path.name} is not a model card: {error!r}") from error
    if card.temperature <= 0:
        raise ValueError(f"{path.name}: temperature must be positive, not {card.temperature}")
    if card.thresholds and not 0 <= card.thresholds.real <= card.thresholds.generated <= 1:
        raise ValueError(f"{path.name}: thresholds must satisfy 0 <= real <= generated <= 1")
    return card
