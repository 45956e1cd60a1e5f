"""Packed into the stock peer's archive: TorchServe's image_classifier, told this model's input and its two classes."""

from pathlib import Path

import torch

from handlers.card import read_card
from handlers.vision import torchvision

# isort: split
# Last: the stock handler imports torchvision, which handlers.vision makes possible beside a CPU build of torch.
from ts.torch_handler.image_classifier import ImageClassifier


class StockClassifier(ImageClassifier):
    """What TorchServe's documentation has a user do: replace `image_processing` and `topk`, keep the rest."""

    def initialize(self, context):
        torch.set_num_threads(1)
        card = read_card(Path(context.system_properties["model_dir"]) / "authenticity.json")
        wanted = card.preprocessing
        transforms = torchvision.transforms
        self.topk = len(card.classes)
        self.image_processing = transforms.Compose(
            [
                transforms.Resize(round(wanted.size / wanted.crop), transforms.InterpolationMode(wanted.interpolation)),
                transforms.CenterCrop(wanted.size),
                transforms.ToTensor(),
                transforms.Normalize(mean=wanted.mean, std=wanted.std),
            ]
        )
        super().initialize(context)
