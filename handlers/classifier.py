"""One released model in a worker: its network on its device, and what its card says of it."""

from pathlib import Path

import torch

from handlers.card import read_card
from handlers.network import load_network
from handlers.preprocessing import picture_to_tensor


class Classifier:
    """Loads `<name>.safetensors` and `<name>.json` from a folder.

    Raises ValueError where the two do not belong together, FileNotFoundError where one is missing.
    """

    def __init__(self, folder: Path, name: str, device: torch.device) -> None:
        self.device = device
        self.card = read_card(folder / f"{name}.json")
        network = load_network(folder / f"{name}.safetensors", self.card).to(device)
        children = dict(network.named_children())
        self.head: torch.nn.Linear = children.pop("fc")
        children.pop("avgpool")
        self.trunk = torch.nn.Sequential(*children.values()).eval()

    def sees_the_same_as(self, other: "Classifier") -> bool:
        """Whether both make the same features of a picture: equal preprocessing and, tensor by tensor, equal trunks."""
        mine, theirs = self.card, other.card
        if (mine.architecture, mine.preprocessing) != (theirs.architecture, theirs.preprocessing):
            return False
        tensors = other.trunk.state_dict()
        return all(torch.equal(tensor, tensors[name]) for name, tensor in self.trunk.state_dict().items())

    def prepare(self, image) -> torch.Tensor:
        """An RGB picture to (3, size, size) float32."""
        return picture_to_tensor(image, self.card.preprocessing)

    @torch.inference_mode()
    def features(self, tensors: list[torch.Tensor] | torch.Tensor) -> torch.Tensor:
        """(N, channels, size / 32, size / 32): what the last convolutions see, before pooling."""
        batch = tensors if isinstance(tensors, torch.Tensor) else torch.stack(tensors)
        return self.trunk(batch.to(self.device))

    @torch.inference_mode()
    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """(N, classes), not calibrated."""
        return self.head(features.mean(dim=(2, 3)))

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Calibrated, shaped like the logits (..., classes): their softmax over the card's temperature."""
        return (logits / self.card.temperature).softmax(dim=-1)
