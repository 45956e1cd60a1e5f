"""Releases, and models that tests make for themselves."""

from pathlib import Path

import msgspec
import torch
from safetensors.torch import save_file
from torch import nn

from imagetrust.files import file_sha256
from imagetrust.images.views import Preprocessing, ViewRule
from imagetrust.models.backbone import Backbone
from imagetrust.models.config import TASKS, WEIGHTS, Head, ModelConfig, Thresholds

MODEL_STORE = Path(__file__).resolve().parent.parent / "model_store"
CURRENT = MODEL_STORE / (MODEL_STORE / "current").read_text().split()[0]  # what the archives serve by default
RELEASE = MODEL_STORE / "0.3"  # whose network is small: most of what tests hold of serving does not depend on it


def archive_of(endpoint: str, version: str = RELEASE.name) -> str:
    """The name of an endpoint's archive."""
    return f"{endpoint}-{version}.mar"


def untrained_release(folder: Path, backbone: Backbone, *views: ViewRule, size: int | None = None) -> Path:
    """Write a release with random weights, the same every time, and thresholds of 0.4 and 0.6.

    size: side of the input; the backbone's own where not given.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    network = backbone.build()
    tensors = {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
    for task, classes in TASKS.items():
        head = nn.Linear(backbone.channels, len(classes))
        tensors |= {f"heads.{task}.{name}": tensor for name, tensor in head.state_dict().items()}
    save_file({name: tensor.half().contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS)
    heads = {task: Head(classes) for task, classes in TASKS.items()}
    heads["authenticity"] = msgspec.structs.replace(heads["authenticity"], thresholds=Thresholds(0.4, 0.6))
    ModelConfig(
        version="0.0",
        backbone=backbone.name,
        preprocessing=Preprocessing(
            size or backbone.input_size, "bicubic", backbone.mean, backbone.std, views or (ViewRule(fraction=1.0),)
        ),
        heads=heads,
        weights_sha256=file_sha256(folder / WEIGHTS),
    ).write(folder)
    return folder
