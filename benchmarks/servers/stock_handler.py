"""Packed into the stock TorchServe archive: its image_classifier, told this model's transforms and classes."""

from typing import Any

from pillow_heif import register_heif_opener

from imagetrust.models.backbone import import_torchvision
from imagetrust.models.config import TASKS

import_torchvision()  # beside a CPU build of torch nothing else may import torchvision first

from eager import TASK, transform  # noqa: E402 (beside this file in the archive)
from ts.torch_handler.image_classifier import ImageClassifier  # noqa: E402


class StockClassifier(ImageClassifier):
    """What TorchServe's documentation tells a user to do: replace `image_processing` and `topk`, keep the rest."""

    topk = len(TASKS[TASK])

    def initialize(self, context: Any) -> None:
        """Set the transforms and load the model."""
        register_heif_opener()
        self.image_processing = transform()
        super().initialize(context)
