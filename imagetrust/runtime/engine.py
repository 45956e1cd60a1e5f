"""What scores images in a worker: the fastest way that the device has and that passed the precision gate.

A fast precision rounds. So that rounding changes no answer, an image whose answer is close to changing is computed
again in fp32: how close, the gate says (imagetrust.runtime.precision_gate).
"""

import copy
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from imagetrust.models.model import Model
from imagetrust.runtime.precision_gate import EXACT_NETWORK, INT8_NETWORK, Gate
from imagetrust.runtime.processor import fast_precisions
from imagetrust.runtime.torch import HalfRunner, Outputs, PixelNetwork, TorchRunner

logger = logging.getLogger(__name__)

Runner = Callable[[NDArray[np.uint8]], Outputs]
CPU_PRECISIONS = ("auto", "bf16", "int8", "fp32")
GPU_PRECISIONS = ("auto", "fp16", "fp32")


@dataclass(frozen=True)
class Scores:
    """What a model makes of one image.

    features: of each view that was looked at, (views, ...). logits: by task, (classes,), the mean over these views, not
    calibrated. recomputed: whether they were computed again by the exact runner.
    """

    features: torch.Tensor
    logits: dict[str, torch.Tensor]
    recomputed: bool = False

    @property
    def views(self) -> int:
        """How many views were looked at."""
        return len(self.features)

    def joined(self, other: "Scores") -> "Scores":
        """Return these scores and those of more views of the image as one."""
        share = self.views / (self.views + other.views)
        logits = {task: share * own + (1 - share) * other.logits[task] for task, own in self.logits.items()}
        return Scores(torch.cat([self.features, other.features]), logits)


@dataclass(frozen=True)
class Engine:
    """A model on its device.

    fast, exact: (N, size, size, 3) uint8 to features and embeddings. exact is None where fast is exact already.
    margins: by task, in calibrated log odds; an answer closer to changing than that is computed again by exact.
    """

    name: str
    model: Model
    fast: Runner
    exact: Runner | None = None
    margins: dict[str, float] = field(default_factory=dict)

    @torch.inference_mode()
    def score(self, images: Sequence[NDArray[np.uint8]], tasks: Collection[str]) -> list[Scores]:
        """Score the views (views, size, size, 3) of each image, one or more, for these tasks.

        Where the description says from when on answers are settled, an image's views are looked at in turn until they
        are. The views of all images that are looked at next go through the network together.
        """
        settled = list(zip(*(self.model.config.settled.get(task, ()) for task in tasks), strict=False))
        scores = self._run(self.fast, [views[:1] for views in images] if settled else images)
        unsettled = list(range(len(images)))
        for count, after in enumerate(settled, 1):
            limits = dict(zip(tasks, after, strict=True))
            unsettled = [index for index in unsettled if len(images[index]) > count]
            # Where rounding could say whether an answer is settled, the exact runner says it.
            self._compute_again([one for one in unsettled if self._is_close(scores[one], limits)], images, scores)
            unsettled = [index for index in unsettled if not self._is_beyond(scores[index], limits)]
            end = count + 1 if count < len(settled) else None
            following = self._run(self.fast, [images[index][count:end] for index in unsettled])
            for index, one in zip(unsettled, following, strict=True):
                scores[index] = scores[index].joined(one)
        if self.exact:
            near = {task: self.margins[task] for task in tasks}
            again = [index for index, one in enumerate(scores) if not one.recomputed and not self._is_beyond(one, near)]
            self._compute_again(again, images, scores)
        return scores

    def _is_beyond(self, scores: Scores, limits: Mapping[str, float]) -> bool:
        """Whether the answers of these tasks are as far from changing as their limits."""
        # Not `margin < limit`, which is false for NaN.
        return all(self.model.margin(task, scores.logits[task][None]) >= limit for task, limit in limits.items())

    def _is_close(self, scores: Scores, limits: Mapping[str, float]) -> bool:
        """Whether rounding could bring the answers beyond their limits, or keep them from it."""
        if not self.exact:
            return False
        above = {task: limit + self.margins[task] for task, limit in limits.items()}
        below = ({task: limit - self.margins[task]} for task, limit in limits.items())
        return not self._is_beyond(scores, above) and all(self._is_beyond(scores, one) for one in below)

    def _compute_again(self, chosen: Sequence[int], images: Sequence[NDArray[np.uint8]], scores: list[Scores]) -> None:
        """Replace the scores of chosen images by those of the exact runner, of the same views."""
        if self.exact and chosen:
            again = self._run(self.exact, [images[index][: scores[index].views] for index in chosen])
            for index, one in zip(chosen, again, strict=True):
                scores[index] = replace(one, recomputed=True)

    def _run(self, runner: Runner, images: Sequence[NDArray[np.uint8]]) -> list[Scores]:
        if not images:
            return []
        counts = [len(views) for views in images]
        features, embeddings = runner(images[0] if len(images) == 1 else np.concatenate(images))
        by_task = {task: logits.cpu().split(counts) for task, logits in self.model.logits(embeddings).items()}
        return [
            Scores(seen, {task: logits[index].mean(0) for task, logits in by_task.items()})
            for index, seen in enumerate(features.split(counts))
        ]


def choose_engine(model: Model, threads: int = 1, precision: str = "auto") -> Engine:
    """Return the engine for a model, from what its folder holds and what its device can do.

    On a GPU fp16; on a processor OpenVINO in the fastest precision that passed the gate; in fp32 where none did; torch
    where OpenVINO is missing or fails. The log says which, and why it is not a faster one.
    Raises ValueError for a precision that the device does not offer.
    """
    offered = GPU_PRECISIONS if model.device.type == "cuda" else CPU_PRECISIONS
    if precision not in offered:
        raise ValueError(f"on {model.device.type} the precision is one of {', '.join(offered)}, not {precision!r}")
    gate = Gate.read(model.folder, model.config.weights_sha256)
    margins = gate.passed() if gate else {}
    if model.device.type == "cuda":
        return _on_gpu(model, margins, precision)
    return _on_processor(model, gate, margins, threads, precision)


def cheapest_first(shares: Mapping[str, float], gate: Gate | None) -> tuple[str, ...]:
    """Order precisions, given as shares of fp32's time, by what an image costs: some are computed again in fp32."""
    return tuple(sorted(shares, key=lambda name: shares[name] + (gate.computed_again(name) if gate else 0.0)))


def exact_engine(model: Model) -> Engine:
    """Return the engine that computes in fp32 by torch: the reference, on any device."""
    runner = TorchRunner(PixelNetwork(model.network, model.config.preprocessing), model.device)
    return Engine(runner.name, model, runner)


def _on_gpu(model: Model, margins: dict[str, dict[str, float]], precision: str) -> Engine:
    exact = exact_engine(model)
    # fp16 rounds eight times finer than bf16, whose margins therefore hold for it.
    if precision == "fp32" or "bf16" not in margins:
        return exact
    fast = HalfRunner(PixelNetwork(copy.deepcopy(model.network), model.config.preprocessing), model.device)
    return Engine(fast.name, model, fast, exact.fast, margins["bf16"])


def _on_processor(
    model: Model, gate: Gate | None, margins: dict[str, dict[str, float]], threads: int, precision: str
) -> Engine:
    try:
        from imagetrust.runtime.openvino import OpenVinoRunner

        # Beside a fast runner it sees few images, seldom two at once: not worth a second copy in every worker.
        exact = OpenVinoRunner(model.folder / EXACT_NETWORK, "fp32", threads, batch_sizes=(1,))
    except Exception as error:
        # A worker that answers slowly is better than none, whatever kept OpenVINO from loading.
        logger.warning("OpenVINO cannot be used (%s): serving by torch in fp32, several times slower", error)
        return exact_engine(model)
    wanted: tuple[str, ...] = (precision,)
    if precision == "auto":
        wanted = cheapest_first(fast_precisions(model.backbone.bf16_products), gate)
    for candidate in wanted:
        if candidate == "fp32":
            break
        if candidate not in margins:
            logger.warning("%s has not passed the precision gate: trying the next best", candidate)
            continue
        try:
            quantised = candidate == "int8" and model.backbone.quantised
            network = model.folder / (INT8_NETWORK if quantised else EXACT_NETWORK)
            fast = OpenVinoRunner(network, candidate, threads)
            return Engine(fast.name, model, fast, exact, margins[candidate])
        except RuntimeError as error:
            logger.warning("%s cannot be used: %s", candidate, error)
    if precision == "auto" and not wanted:
        logger.warning("this processor has no fast precision for this network: fp32 takes about twice as long")
    runner = OpenVinoRunner(model.folder / EXACT_NETWORK, "fp32", threads)
    return Engine(runner.name, model, runner)
