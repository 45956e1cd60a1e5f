"""The released network in eager torch with torchvision's transforms: what anyone would write around the weights.

It is packed into the stock TorchServe archive too, where the model file must hold one class.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

from imagetrust.images.views import CENTRE, ViewRule
from imagetrust.models.backbone import import_torchvision
from imagetrust.models.config import TASKS, ModelConfig
from imagetrust.models.model import Model

TASK = "authenticity"
FOLDER = Path(__file__).with_name("model")  # in the stock archive


class EagerNetwork(torch.nn.Module):
    """The backbone and one head of the model in a serving folder, in fp32 and on one thread."""

    def __init__(self, folder: Path = FOLDER) -> None:
        super().__init__()
        torch.set_num_threads(1)
        model = Model(folder)
        self.network, self.head = model.network, model.heads[TASK]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, classes), the mean over the views, of normalised images (N, views, 3, size, size).

        Views are laid out and averaged as torchvision's documentation of TenCrop has it.
        """
        logits = self.head(self.network(images.flatten(0, 1))[1])
        return logits.unflatten(0, images.shape[:2]).mean(1)


def transform(folder: Path = FOLDER) -> Callable[[Image.Image], torch.Tensor]:
    """Return what makes an RGB image into the views of the release, all of them: (views, 3, size, size), normalised.

    An image too small for a view gets it with a black border; the predictor leaves such a view out.
    Raises ValueError for a release with views elsewhere than in the centre.
    """
    import_torchvision()
    from torchvision import transforms

    wanted = ModelConfig.read(folder).preprocessing
    interpolation = transforms.InterpolationMode(wanted.interpolation)
    if any(rule.places != (CENTRE,) for rule in wanted.views):
        raise ValueError("torchvision's CenterCrop makes views in the centre alone")

    def view(rule: ViewRule) -> Callable[[Image.Image], torch.Tensor]:
        if rule.zoom is None:
            resized = transforms.Resize(round(wanted.size / rule.fraction), interpolation)
            cut = [resized, transforms.CenterCrop(wanted.size)]
        else:
            cut = [transforms.CenterCrop(round(rule.zoom * wanted.size)), transforms.Resize(wanted.size, interpolation)]
        return transforms.Compose([*cut, transforms.ToTensor(), transforms.Normalize(wanted.mean, wanted.std)])

    views = [view(rule) for rule in wanted.views]
    return lambda image: torch.stack([one(image) for one in views])


def answer_of(logits: torch.Tensor) -> dict[str, float]:
    """Return the probability of each class, not calibrated, for logits (classes,)."""
    return dict(zip(TASKS[TASK], logits.softmax(dim=0).tolist(), strict=True))
