"""The classifiers' networks by name, each a trunk, a mean over the picture and one linear head, and their weights."""

import hashlib
from pathlib import Path

import torch
from safetensors.torch import load_file

from handlers.card import Card
from handlers.efficientnet_lite import EfficientNetLite0


def resnet18(num_classes: int) -> torch.nn.Module:
    """An untrained ResNet18 (He et al. 2015, arXiv 1512.03385): (N, 3, H, W) in, (N, num_classes) logits out."""
    from handlers.vision import torchvision  # a second of a worker's start and 60 MB, for this network alone

    return torchvision.models.resnet18(weights=None, num_classes=num_classes)


ARCHITECTURES = {"resnet18": resnet18, "efficientnet_lite0": EfficientNetLite0}


def file_sha256(path: Path) -> str:
    """The hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_weights(weights: Path, card: Card) -> dict[str, torch.Tensor]:
    """The tensors of a weights file by name, as stored.

    Raises ValueError where the file is not the one that the card describes, or does not fit the card's architecture.
    """
    if card.architecture not in ARCHITECTURES:
        raise ValueError(f"unknown architecture {card.architecture!r}; this code runs {', '.join(ARCHITECTURES)}")
    digest = file_sha256(weights)
    if digest != card.weights_sha256:
        raise ValueError(f"{weights.name} has SHA-256 {digest}, its card says {card.weights_sha256}")
    tensors = load_file(weights)
    with torch.device("meta"):
        expected = ARCHITECTURES[card.architecture](len(card.classes)).state_dict()
    missing = [name for name in expected if name not in tensors and not _is_count(name)]
    unexpected = [name for name in tensors if name not in expected]
    misshapen = [name for name, tensor in tensors.items() if name in expected and tensor.shape != expected[name].shape]
    if missing or unexpected or misshapen:
        raise ValueError(
            f"{weights.name} does not fit {card.architecture}: missing {missing}, unexpected {unexpected}, "
            f"of another shape {misshapen}"
        )
    return tensors


def build_trunk(card: Card, tensors: dict[str, torch.Tensor]) -> torch.nn.Sequential:
    """The card's network up to its pooling, with these tensors, in fp32 and evaluation mode."""
    network = ARCHITECTURES[card.architecture](len(card.classes))
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=False)
    children = dict(network.named_children())
    del children["fc"], children["avgpool"]
    return torch.nn.Sequential(*children.values()).eval()


def _is_count(name: str) -> bool:
    return name.endswith("num_batches_tracked")  # unused in evaluation, and not released
