"""A released model loaded from its folder: description, heads, and its backbone where torch shall run it."""

import functools
import hashlib
from pathlib import Path

import safetensors.torch
import torch
from safetensors import safe_open
from torch import nn

from imagetrust.files import file_sha256
from imagetrust.models.backbone import Backbone, Network, Weights
from imagetrust.models.config import PRETRAINED, WEIGHTS, Head, ModelConfig
from imagetrust.models.int8_weights import packed, unpacked
from imagetrust.models.registry import backbone_of


def pretrained_file(backbone: Backbone) -> bytes:
    """Return the safetensors file of a backbone's pretrained weights, in fp16, the same bytes every time.

    Raises ValueError for a backbone without any.
    """
    if backbone.pretrained is None:
        raise ValueError(f"{backbone.name} has no pretrained weights")
    return safetensors.torch.save({name: tensor.half().contiguous() for name, tensor in backbone.pretrained().items()})


class Model:
    """Loads a folder's description and heads; the backbone's parts only when they are asked for.

    calibrated: refuse a model without the thresholds that its tasks need.
    Raises ValueError where description and weights do not belong together, FileNotFoundError where one is missing.
    """

    def __init__(self, folder: Path, device: torch.device | None = None, *, calibrated: bool = True) -> None:
        self.folder = folder
        self.device = device or torch.device("cpu")
        self.config = ModelConfig.read(folder, calibrated=calibrated)
        self.backbone = backbone_of(self.config.backbone)
        _check(WEIGHTS, file_sha256(folder / WEIGHTS), self.config.weights_sha256)
        if self.config.pretrained_sha256 and (folder / PRETRAINED).exists():
            _check(PRETRAINED, file_sha256(folder / PRETRAINED), self.config.pretrained_sha256)
        self.heads = {task: self._head(task, head) for task, head in self.config.heads.items()}

    def _head(self, task: str, head: Head) -> nn.Linear:
        linear = nn.Linear(self.backbone.channels, len(head.classes))
        _load(linear, self._tensors(f"heads.{task}."), f"the head of {task}")
        return linear.to(self.device).eval()

    def _tensors(self, prefix: str) -> Weights:
        """Return the weights whose names begin so, by the rest of their names, in fp32."""
        tensors = _read(self.folder / WEIGHTS, prefix)
        if self.config.pretrained_sha256 and not prefix.startswith("heads."):
            tensors = self._pretrained(prefix) | tensors
        return tensors

    def _pretrained(self, prefix: str) -> Weights:
        if (self.folder / PRETRAINED).exists():
            return _read(self.folder / PRETRAINED, prefix)
        content = pretrained_file(self.backbone)
        _check(
            f"the pretrained {self.backbone.name}", hashlib.sha256(content).hexdigest(), self.config.pretrained_sha256
        )
        # As a serving folder has them, so that both compute with the same numbers.
        return _with_prefix(unpacked(packed(safetensors.torch.load(content))), prefix)

    @functools.cached_property
    def pool(self) -> nn.Module:
        """The backbone's small part, in fp32 and evaluation mode: features to embeddings."""
        return self._part(self.backbone.pool(), "pool.")

    @functools.cached_property
    def network(self) -> Network:
        """The backbone, in fp32 and evaluation mode."""
        features = self.backbone.features(self.config.preprocessing.size)
        return Network(self._part(features, "features."), self.pool).eval()

    def _part(self, module: nn.Module, prefix: str) -> nn.Module:
        # Built where inference mode is on, its weights would be of no use outside of it.
        with torch.inference_mode(False):
            _load(module, self._tensors(prefix), f"the backbone {self.backbone.name}")
            return module.to(self.device).eval().requires_grad_(False)

    def logits(self, embeddings: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the logits (N, classes) of every task for embeddings (N, channels), not calibrated."""
        return {task: head(embeddings) for task, head in self.heads.items()}

    def probabilities(self, task: str, logits: torch.Tensor) -> torch.Tensor:
        """Return calibrated probabilities, shaped like the logits (..., classes)."""
        return (logits / self.config.heads[task].temperature).softmax(dim=-1)

    def margin(self, task: str, logits: torch.Tensor) -> torch.Tensor:
        """Return (N,): by how much calibrated log odds must move before label, verdict or family change.

        logits: (N, classes) of the task.
        """
        head = self.config.heads[task]
        calibrated = logits / head.temperature
        first, second = calibrated.topk(2, dim=-1).values.unbind(-1)
        margin = first - second
        if head.thresholds:
            log_odds = calibrated[:, 1] - calibrated[:, 0]
            for threshold in torch.tensor([head.thresholds.real, head.thresholds.generated]).logit().tolist():
                margin = torch.minimum(margin, (log_odds - threshold).abs())
        return margin


def _load(module: nn.Module, tensors: Weights, what: str) -> None:
    """Fill a module. The counters of batch norms are not released: evaluation does not use them."""
    try:
        missing, unexpected = module.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise ValueError(f"{WEIGHTS} does not fit {what}: {error}") from error
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ValueError(f"{WEIGHTS} does not fit {what}: missing {missing}, unexpected {unexpected}")


def _check(name: str, digest: str, expected: str | None) -> None:
    if digest != expected:
        raise ValueError(f"{name} has SHA-256 {digest}, its description says {expected}")


def _read(file: Path, prefix: str) -> Weights:
    with safe_open(file, "pt") as opened:
        names = [name for name in opened.keys() if name.startswith(prefix)]  # noqa: SIM118 (not a mapping)
        return unpacked({name.removeprefix(prefix): opened.get_tensor(name) for name in names})


def _with_prefix(weights: Weights, prefix: str) -> Weights:
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
