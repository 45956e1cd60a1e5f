"""The released network in eager torch with torchvision's transforms: what anybody would write around the weights."""

import io
from pathlib import Path

import torch
from PIL import Image

from handlers.card import Card, read_card
from handlers.network import ARCHITECTURES, load_weights
from handlers.vision import torchvision

NAME = "authenticity"
_TRANSFORMS = torchvision.transforms


def transform(card: Card) -> torch.nn.Module:
    """Resize, crop, tensor, normalise: the same view at the same size as ours."""
    wanted = card.preprocessing
    return _TRANSFORMS.Compose(
        [
            _TRANSFORMS.Resize(
                round(wanted.size / wanted.crop),
                interpolation=_TRANSFORMS.InterpolationMode(wanted.interpolation),
            ),
            _TRANSFORMS.CenterCrop(wanted.size),
            _TRANSFORMS.ToTensor(),
            _TRANSFORMS.Normalize(mean=wanted.mean, std=wanted.std),
        ]
    )


def released_network(released: Path, card: Card) -> torch.nn.Module:
    """The whole network with the released weights, in fp32 and evaluation mode: (N, 3, H, W) to (N, classes) logits."""
    network = ARCHITECTURES[card.architecture](len(card.classes))
    tensors = load_weights(released / f"{card.name}.safetensors", card)
    # Not strict: batch norm's counts of batches, unused in evaluation, are not released.
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=False)
    return network.eval()


class EagerModel:
    """One thread, on the given device."""

    def __init__(self, released: Path, device: str) -> None:
        torch.set_num_threads(1)
        card = read_card(released / f"{NAME}.json")
        self.classes = card.classes
        self.device = device
        self.transform = transform(card)
        self.network = released_network(released, card).to(device)

    def prepare(self, data: bytes) -> torch.Tensor:
        """(3, size, size) float32 of a file's bytes."""
        return self.transform(Image.open(io.BytesIO(data)).convert("RGB"))

    @torch.no_grad()
    def probabilities(self, batch: torch.Tensor) -> torch.Tensor:
        """(N, classes), not calibrated, of (N, 3, size, size)."""
        return self.network(batch.to(self.device)).softmax(dim=1).cpu()

    def answer(self, probabilities: torch.Tensor) -> dict[str, object]:
        """The JSON answer to one row (classes,)."""
        by_class = dict(zip(self.classes, probabilities.tolist(), strict=True))
        return {"label": max(by_class, key=by_class.get), "probabilities": by_class}
