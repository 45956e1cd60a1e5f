"""The precision gate: how far a precision below fp32 may change a model's answers, and what was measured of one."""

from pathlib import Path
from typing import Any, Self

import msgspec

from imagetrust.files import replace_bytes

GATE = "gate.json"
EXACT_NETWORK = "network.fp32.xml"
INT8_NETWORK = "network.int8.xml"

# Changes against fp32 on the same images, as fractions; none of them took part in quantisation (training.quantise).
# Of the tasks the worse counts. Over held-out groups the mean of absolute changes counts, so that they do not cancel,
# and the worst: of a group of 127 generated images one alone is 0.004 of balanced accuracy.
LIMITS = {
    "balanced_accuracy_change": 0.003,
    "held_out_balanced_accuracy_change": 0.003,
    "held_out_worst_change": 0.01,
    "verdicts_changed": 0.005,
    "calibration_error_change": 0.01,
}


class Gate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was measured of a model's fast precisions, "bf16" and "int8".

    weights_sha256: of the model that was measured. margins: by precision and task, in calibrated log odds: an answer
    closer to changing than that is computed again in fp32. metrics: by precision, with a value for each of LIMITS.
    files: the SHA-256 of the quantised network's files. conditions: processor, versions, data.
    """

    weights_sha256: str
    margins: dict[str, dict[str, float]]
    metrics: dict[str, dict[str, Any]]
    files: dict[str, str]
    conditions: dict[str, Any]

    @classmethod
    def read(cls, folder: Path, weights_sha256: str) -> Self | None:
        """Read the gate in a folder; None where there is none: the model is served in fp32.

        Raises ValueError where it does not fit, or was measured of other weights than these.
        """
        path = folder / GATE
        if not path.exists():
            return None
        try:
            gate = msgspec.json.decode(path.read_bytes(), type=cls)
        except msgspec.DecodeError as error:
            raise ValueError(f"{path} is no gate: {error}") from error
        if gate.weights_sha256 != weights_sha256:
            raise ValueError(f"{path} was measured of other weights ({gate.weights_sha256[:12]})")
        return gate

    def write(self, folder: Path) -> None:
        """Write the gate into a folder, in one step."""
        replace_bytes(folder / GATE, msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")

    def failures(self, precision: str) -> list[str]:
        """Return a line for each metric of a precision beyond its limit; one that was not measured is beyond it."""
        metrics, lines = self.metrics.get(precision, {}), []
        for name, limit in LIMITS.items():
            value = metrics.get(name)
            if value is None:
                lines.append(f"{name} was not measured")
            elif not abs(value) <= limit:
                lines.append(f"{name} is {value:+.4f}, the limit {limit}")
        return lines

    def computed_again(self, precision: str) -> float:
        """Return the share of images that a precision has computed again in fp32: of the tasks the larger one."""
        tasks = self.metrics.get(precision, {}).get("tasks", {})
        return max((task.get("computed_again", 0.0) for task in tasks.values()), default=0.0)

    def passed(self) -> dict[str, dict[str, float]]:
        """Return the margins of the precisions that stay within every limit."""
        return {name: margins for name, margins in self.margins.items() if not self.failures(name)}
