"""What computes a trunk's features in a worker: the fastest way that the device has and that passed its gate.

A fast way rounds. So that rounding changes no answer, pictures whose answer is close to changing are computed again in
fp32: how close, the trunk's file says, measured when it was quantised (training.quantise).
"""

import copy
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from handlers.classifier import Classifier
from handlers.gate import missed
from handlers.processor import fast_precisions
from handlers.trunk import HalfTrunk, PixelTrunk, TorchTrunk

logger = logging.getLogger(__name__)

Trunk = Callable[[np.ndarray], torch.Tensor]
# The setting `precision` of an archive's handler, by torch's name of the device.
PRECISIONS = {"cpu": ("auto", "bf16", "int8", "fp32"), "cuda": ("auto", "fp16", "fp32")}


def exact_file(trunk_id: str) -> str:
    """The name of a trunk's network in fp32, in an archive."""
    return f"trunk-{trunk_id}.fp32.xml"


def quantised_file(trunk_id: str) -> str:
    """The name of a trunk's network in int8, where it is released."""
    return f"trunk-{trunk_id}.int8.xml"


def gate_file(trunk_id: str) -> str:
    """The name of the file that says how far each fast precision may be trusted."""
    return f"trunk-{trunk_id}.json"


@dataclass(frozen=True)
class Engine:
    """A trunk on its device.

    fast, exact: (N, size, size, 3) uint8 to features. exact is None where fast is exact already.
    bands: by the model's name, calibrated logits; an answer closer to changing than that is computed again by exact.
    """

    name: str
    fast: Trunk
    exact: Trunk | None = None
    bands: dict[str, float] = field(default_factory=dict)

    @torch.inference_mode()
    def score(
        self, pixels: np.ndarray, classifiers: Sequence[Classifier]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The features (N, C, h, w) of a batch, and the logits (N, classes) that each classifier makes of them."""
        features = self.fast(pixels)
        logits = {one.card.name: one.logits(features) for one in classifiers}
        if self.exact:
            is_close = [
                # Negated, so that a distance that is not a number counts as close.
                ~(one.distance_to_change(logits[one.card.name]) >= self.bands[one.card.name])
                for one in classifiers
            ]
            close = torch.stack(is_close).any(0).nonzero().flatten()
            if len(close):
                features[close] = self.exact(pixels[close.cpu().numpy()])
                logits = {one.card.name: one.logits(features) for one in classifiers}
        return features, logits


def choose_engine(folder: Path, classifier: Classifier, threads: int, precision: str = "auto") -> Engine:
    """The engine for a classifier's trunk, from what an archive's folder holds and what the device can do.

    On a GPU fp16; on a processor OpenVINO in the fastest precision that the trunk's gate lists; in fp32 where it lists
    none; torch where OpenVINO is missing or fails. The log says which, and why it is not a faster one.
    Raises ValueError for a precision that PRECISIONS does not name for the device.
    """
    device = classifier.device.type
    if precision not in PRECISIONS[device]:
        raise ValueError(f"on {device} the precision must be one of {', '.join(PRECISIONS[device])}, not {precision!r}")
    gate_path = folder / gate_file(classifier.trunk_id)
    bands = _passed(json.loads(gate_path.read_text())) if gate_path.exists() else {}
    if classifier.device.type == "cuda":
        return _on_gpu(classifier, bands, precision)
    return _on_processor(folder, classifier, bands, threads, precision)


def _passed(gate: dict) -> dict[str, dict[str, float]]:
    """The bands of the precisions that passed the gate."""
    return {name: bands for name, bands in gate["bands"].items() if not missed(gate["figures"].get(name, {}))}


def _torch_trunk(classifier: Classifier) -> TorchTrunk:
    return TorchTrunk(PixelTrunk(classifier.trunk, classifier.card.preprocessing), classifier.device)


def _on_gpu(classifier: Classifier, bands: dict[str, dict[str, float]], precision: str) -> Engine:
    exact = _torch_trunk(classifier)
    # fp16 rounds eight times finer than bf16, whose band therefore holds for it.
    if precision == "fp32" or "bf16" not in bands:
        return Engine("torch fp32", exact)
    network = PixelTrunk(copy.deepcopy(classifier.trunk), classifier.card.preprocessing)
    return Engine("torch fp16", HalfTrunk(network, classifier.device), exact, bands["bf16"])


def _on_processor(
    folder: Path, classifier: Classifier, bands: dict[str, dict[str, float]], threads: int, precision: str
) -> Engine:
    trunk_id = classifier.trunk_id
    try:
        from handlers.openvino_trunk import OpenVinoTrunk

        # Beside a fast trunk it sees few pictures, seldom two at once: not worth a second copy in every worker.
        exact = OpenVinoTrunk(folder / exact_file(trunk_id), "fp32", threads, batch_sizes=(1,))
    except Exception as error:
        # A worker that answers slowly is better than none, whatever kept OpenVINO from loading.
        logger.warning("OpenVINO cannot be used (%s): serving by torch in fp32, several times slower", error)
        return Engine("torch fp32", _torch_trunk(classifier))
    wanted = fast_precisions() if precision == "auto" else (precision,)
    for candidate in wanted:
        if candidate == "fp32":
            break
        if candidate not in bands:
            logger.warning("%s has not passed the gate for trunk %s: trying the next best", candidate, trunk_id)
            continue
        network = folder / (quantised_file(trunk_id) if candidate == "int8" else exact_file(trunk_id))
        try:
            return Engine(f"openvino {candidate}", OpenVinoTrunk(network, candidate, threads), exact, bands[candidate])
        except RuntimeError as error:
            logger.warning("OpenVINO cannot run %s: %s", network.name, error)
    if precision == "auto" and not wanted:
        logger.warning("this processor has neither VNNI nor AMX: serving in fp32, at about half the speed")
    return Engine("openvino fp32", OpenVinoTrunk(folder / exact_file(trunk_id), "fp32", threads))
