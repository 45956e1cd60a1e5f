"""The description of a model, as it travels with the weights: read and written here alone."""

from pathlib import Path
from typing import Annotated, Self

import msgspec

from imagetrust.distributions import Reference
from imagetrust.files import replace_bytes
from imagetrust.images.views import Preprocessing

CONFIG = "config.json"
WEIGHTS = "weights.safetensors"
PRETRAINED = "pretrained.safetensors"  # in a serving folder, where the model builds on a pretrained backbone

TASKS = {"authenticity": ("real", "generated"), "generator_type": ("real", "gan", "diffusion", "other")}
NEEDS_THRESHOLDS = frozenset({"authenticity"})

Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Thresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the verdict changes, on the calibrated probability of being generated.

    At or above `generated` the verdict is "generated", at or below `real` it is "real", between them "uncertain".
    """

    real: Probability
    generated: Probability

    def __post_init__(self) -> None:
        """Raise ValueError where the two are out of order."""
        if self.real > self.generated:
            raise ValueError("thresholds must satisfy real <= generated")

    def verdict(self, probability_generated: float) -> str:
        """Return one of "real", "uncertain" and "generated"."""
        if probability_generated >= self.generated:
            return "generated"
        return "real" if probability_generated <= self.real else "uncertain"


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A linear head of one task. `temperature` divides its logits before softmax (Guo et al. 2017, arXiv 1706.04599).

    real_bias: what calibration added to the logit of real images. The weights' bias holds it: it is not added again.
    thresholds_hold: whether calibration could show the error rates that the thresholds are chosen for.
    """

    classes: tuple[str, ...]
    temperature: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    real_bias: float = 0.0
    thresholds: Thresholds | None = None
    thresholds_hold: bool | None = None


class DataSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The data that a release was trained and scored on.

    digest: training.data.data_digest of its list of images; None where the data went before a digest was taken.
    """

    name: str
    images: int
    sources: int
    digest: str | None


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the weights came about.

    seed: of the split, the sampling and the augmentation. commands: in order, to repeat them.
    calibrated_on: names of the held-out groups that took part in calibration.
    """

    seed: int
    commands: tuple[str, ...]
    epochs: int
    data: DataSet
    calibrated_on: tuple[str, ...] = ()


class ModelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One model: a backbone and a head for each task.

    backbone: a name of imagetrust.models.registry. weights_sha256: of the weights file beside the description.
    pretrained_sha256: of the pretrained backbone (imagetrust.models.model.pretrained_file) whose weights it takes where
        its own file has none; None: its own file has all.
    settled: by task, in calibrated log odds, after one view, after two and so on: an answer that is so far from
        changing is given without the others. Beyond these counts, and for other tasks, all views are looked at.
    reference: by the name of a set of images that the model has not learnt from, how its answers and their sizes are
        spread (training.reference); what is served is compared with it.
    """

    version: str
    backbone: str
    preprocessing: Preprocessing
    heads: dict[str, Head]
    weights_sha256: Digest
    pretrained_sha256: Digest | None = None
    training: Training | None = None
    settled: dict[str, tuple[Annotated[float, msgspec.Meta(ge=0)], ...]] = {}
    reference: dict[str, Reference] = {}

    def __post_init__(self) -> None:
        """Raise ValueError for a task that is not one of TASKS."""
        if unknown := sorted(self.heads.keys() - TASKS.keys()):
            raise ValueError(f"unknown tasks {unknown}")

    @property
    def uncalibrated(self) -> list[str]:
        """The tasks that need thresholds and have none."""
        return [task for task, head in self.heads.items() if task in NEEDS_THRESHOLDS and head.thresholds is None]

    @classmethod
    def read(cls, folder: Path, *, calibrated: bool = True) -> Self:
        """Read the description in a folder.

        calibrated: refuse a model whose tasks lack the thresholds that they need; training alone reads such ones.
        Raises ValueError, naming the file and the member, where one is missing, unknown or does not fit.
        """
        path = folder / CONFIG
        try:
            config = msgspec.json.decode(path.read_bytes(), type=cls)
        except msgspec.DecodeError as error:
            raise ValueError(f"{path} is not a model description: {error}") from error
        if calibrated and config.uncalibrated:
            raise ValueError(f"{path}: {', '.join(config.uncalibrated)} has no thresholds: calibrate the model first")
        return config

    def write(self, folder: Path) -> None:
        """Write the description into a folder, in one step."""
        replace_bytes(folder / CONFIG, msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")
