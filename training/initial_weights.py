"""Where a training run starts: random weights, ImageNet's, or a file."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from handlers.network import resnet18
from handlers.vision import torchvision


def build_network(init: str, num_classes: int) -> torch.nn.Module:
    """A ResNet18 with a fresh head of `num_classes`, its trunk from `init`.

    init: "none", "imagenet" (torchvision downloads them once: needs a connection), or a safetensors file with
    torchvision's parameter names. The file's head is taken as well where its shape fits.
    Raises ValueError where the file's trunk does not fit.
    """
    network = resnet18(num_classes)
    if init == "none":
        return network
    if init == "imagenet":
        weights = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.get_state_dict(progress=True)
    else:
        weights = load_file(Path(init))
    own = network.state_dict()
    fitting = {name: tensor.float() for name, tensor in weights.items() if own.get(name, tensor).shape == tensor.shape}
    missing, unexpected = network.load_state_dict(fitting, strict=False)
    lacking = [name for name in missing if not name.startswith("fc.") and not name.endswith("num_batches_tracked")]
    if lacking or unexpected:
        raise ValueError(f"{init} does not fit ResNet18: lacks {lacking}, has unknown {unexpected}")
    return network
