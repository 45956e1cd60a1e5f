"""What the server answers, typed. Members that a newer server adds are passed over."""

from typing import Any, Literal

import msgspec


class Model(msgspec.Struct, frozen=True):
    """Which model answered, and what computed it."""

    name: str
    version: str
    weights_sha256: str
    engine: str


class Thresholds(msgspec.Struct, frozen=True):
    """On the probability: real at or below the first, generated at or above the second."""

    real: float
    generated: float


class Box(msgspec.Struct, frozen=True):
    """In pixels of the upright picture; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


class Region(Box, frozen=True):
    """A connected part of the heat map. heat: its mean. share: of the view's area. Both 0 to 1."""

    heat: float
    share: float


class Heatmap(msgspec.Struct, frozen=True, rename={"class_": "class"}):
    """Where the features speak for a class.

    values: `rows` by `columns`, 0 to 1, over `view`. overlay_png: the picture with the map over it, a PNG's bytes.
    """

    method: str
    model: str
    class_: str
    rows: int
    columns: int
    values: list[list[float]]
    view: Box
    regions: list[Region]
    sentence: str
    overlay_png: bytes


class Authenticity(msgspec.Struct, frozen=True):
    """Whether people and cameras made a picture or a machine did. `verdict` is what to act on."""

    label: Literal["real", "generated"]
    probability_generated: float
    confidence: float
    verdict: Literal["real", "uncertain", "generated"]
    thresholds: Thresholds
    logits: dict[str, float]
    model: Model


class GeneratorType(msgspec.Struct, frozen=True):
    """Which family of generator made a picture, if any did."""

    family: str
    confidence: float
    probabilities: dict[str, float]
    logits: dict[str, float]
    model: Model


class Verdicts(msgspec.Struct, frozen=True):
    """Both questions answered by one request."""

    authenticity: Authenticity
    generator_type: GeneratorType


class Inferred(Verdicts, frozen=True):
    """What the pixels say, and where."""

    heatmap: Heatmap


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one source in a file declares. docs/explanations.md has the values of `strength`, `says` and `evidence`."""

    source: str
    strength: str
    says: str
    detail: str
    values: dict[str, Any]
    evidence: str | None = None
    truncated: bool = False

    @property
    def is_signed(self) -> bool:
        """Whether a signature stands behind it that is intact, by whomever."""
        return self.strength in ("signed_valid", "signed_untrusted")


class Unreadable(msgspec.Struct, frozen=True):
    """A source that is there but cannot be read, and why."""

    source: str
    unreadable: str


class Declared(msgspec.Struct, frozen=True):
    """What a file declares of its own origin. No finding at all proves nothing."""

    findings: list[Finding]
    unreadable: list[Unreadable]


class File(msgspec.Struct, frozen=True):
    """What was sent. width and height: of the upright picture. mode: Pillow's name of the colour mode."""

    format: str
    width: int
    height: int
    bytes: int
    mode: str


class Explanation(msgspec.Struct, frozen=True):
    """Pixels, declarations, and in `summary` one sentence on how they agree or contradict each other."""

    summary: str
    inferred: Inferred
    declared: Declared
    file: File
