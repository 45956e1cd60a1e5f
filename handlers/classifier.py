"""One released model in a worker: what its card says of it, its head, and where torch shall run it, its trunk."""

import functools
import hashlib
import json
from pathlib import Path

import torch

from handlers.card import Card, read_card
from handlers.network import build_trunk, load_weights


class Classifier:
    """Loads `<name>.safetensors` and `<name>.json` from a folder.

    Raises ValueError where the two do not belong together, FileNotFoundError where one is missing.
    """

    def __init__(self, folder: Path, name: str, device: torch.device) -> None:
        self.device = device
        self.card: Card = read_card(folder / f"{name}.json")
        self._weights = load_weights(folder / f"{name}.safetensors", self.card)
        self.head = torch.nn.Linear(self._weights["fc.weight"].shape[1], len(self.card.classes))
        self.head.load_state_dict({key: self._weights.pop(f"fc.{key}").float() for key in ("weight", "bias")})
        self.head.to(device).eval()

    @functools.cached_property
    def trunk(self) -> torch.nn.Sequential:
        """All before the pooling, in fp32 and evaluation mode: (N, 3, H, W) normalised pictures to features."""
        # Built where inference mode is on, its weights would be of no use outside of it.
        with torch.inference_mode(False):
            return build_trunk(self.card, self._weights).to(self.device)

    @functools.cached_property
    def trunk_id(self) -> str:
        """Names what this model sees of a picture: equal where architecture, preprocessing and all of the trunk's
        weights are. Twelve hexadecimal digits of a SHA-256.
        """
        digest = hashlib.sha256(json.dumps([self.card.architecture, vars(self.card.preprocessing)]).encode())
        for name, tensor in sorted(self._weights.items()):
            digest.update(name.encode())
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]

    @torch.inference_mode()
    def features(self, tensors: list[torch.Tensor] | torch.Tensor) -> torch.Tensor:
        """(N, 3, size, size) normalised pictures to (N, channels, size / 32, size / 32): what the last convolutions
        see, before pooling, by torch in fp32.
        """
        batch = tensors if isinstance(tensors, torch.Tensor) else torch.stack(tensors)
        return self.trunk(batch.to(self.device))

    @torch.inference_mode()
    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """(N, classes), not calibrated."""
        return self.head(features.mean(dim=(2, 3)))

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Calibrated, shaped like the logits (..., classes): their softmax over the card's temperature."""
        return (logits / self.card.temperature).softmax(dim=-1)

    def distance_to_change(self, logits: torch.Tensor) -> torch.Tensor:
        """(N,): by how much the logits' difference, calibrated, must move before label, verdict or family changes."""
        first, second = (logits / self.card.temperature).topk(2, dim=-1).values.unbind(-1)
        distance = first - second
        if self.card.thresholds:
            log_odds = (logits[:, 1] - logits[:, 0]) / self.card.temperature
            for threshold in self._threshold_log_odds:
                distance = torch.minimum(distance, (log_odds - threshold).abs())
        return distance

    @functools.cached_property
    def _threshold_log_odds(self) -> list[float]:
        return torch.tensor(list(vars(self.card.thresholds).values())).logit().tolist()
