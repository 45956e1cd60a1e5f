"""The released network in eager torch with torchvision's transforms: what anyone would write around the weights.

It is packed into the stock TorchServe archive too, where the model file must hold one class.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

from imagetrust.models.backbone import import_torchvision
from imagetrust.models.config import TASKS, ModelConfig
from imagetrust.models.model import Model

TASK = "authenticity"
FOLDER = Path(__file__).with_name("model")  # in the stock archive


class EagerNetwork(torch.nn.Module):
    """The backbone and one head of the release in a folder, in fp32 and on one thread."""

    def __init__(self, folder: Path = FOLDER) -> None:
        super().__init__()
        torch.set_num_threads(1)
        model = Model(folder)
        self.network, self.head = model.network, model.heads[TASK]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, classes) of normalised images (N, 3, size, size)."""
        return self.head(self.network(images)[1])


def transform(folder: Path = FOLDER) -> Callable[[Image.Image], torch.Tensor]:
    """Return resize, crop, tensor, normalise: an RGB image to (3, size, size), the view that the release describes.

    Raises ValueError for a release with several views, which a plain transform does not have.
    """
    import_torchvision()
    from torchvision import transforms

    wanted = ModelConfig.read(folder).preprocessing
    (view,) = wanted.views
    return transforms.Compose(
        [
            transforms.Resize(round(wanted.size / view.fraction), transforms.InterpolationMode(wanted.interpolation)),
            transforms.CenterCrop(wanted.size),
            transforms.ToTensor(),
            transforms.Normalize(wanted.mean, wanted.std),
        ]
    )


def answer_of(logits: torch.Tensor) -> dict[str, float]:
    """Return the probability of each class, not calibrated, for logits (classes,)."""
    return dict(zip(TASKS[TASK], logits.softmax(dim=0).tolist(), strict=True))
