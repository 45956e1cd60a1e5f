"""The classifiers' networks by name, each a trunk, a mean over the picture and one linear head, and their weights."""

import hashlib
from pathlib import Path

import torch
from safetensors.torch import load_file

from handlers.card import Card
from handlers.efficientnet_lite import EfficientNetLite0
from handlers.vision import torchvision


def resnet18(num_classes: int) -> torch.nn.Module:
    """An untrained ResNet18 (He et al. 2015, arXiv 1512.03385): (N, 3, H, W) in, (N, num_classes) logits out."""
    return torchvision.models.resnet18(weights=None, num_classes=num_classes)


ARCHITECTURES = {"resnet18": resnet18, "efficientnet_lite0": EfficientNetLite0}


def file_sha256(path: Path) -> str:
    """The hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_network(weights: Path, card: Card) -> torch.nn.Module:
    """The card's network with these weights, in fp32 and evaluation mode.

    Raises ValueError where the file is not the one that the card describes, or the architecture is unknown.
    """
    if card.architecture not in ARCHITECTURES:
        raise ValueError(f"unknown architecture {card.architecture!r}; this code runs {', '.join(ARCHITECTURES)}")
    digest = file_sha256(weights)
    if digest != card.weights_sha256:
        raise ValueError(f"{weights.name} has SHA-256 {digest}, its card says {card.weights_sha256}")
    network = ARCHITECTURES[card.architecture](len(card.classes))
    tensors = {name: tensor.float() for name, tensor in load_file(weights).items()}
    missing, unexpected = network.load_state_dict(tensors, strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]  # counts, unused in evaluation
    if missing or unexpected:
        raise ValueError(f"{weights.name} does not fit {card.architecture}: missing {missing}, unexpected {unexpected}")
    return network.eval()
