"""What the tests of the engine and its runners share."""

import numpy as np
import pytest
import torch

from imagetrust.models.model import Model
from imagetrust.runtime.torch import PixelNetwork
from tests.procedural import picture

TASKS = ("authenticity", "generator_type")


@pytest.fixture(scope="session")
def model(serving_folder) -> Model:
    return Model(serving_folder)


@pytest.fixture(scope="session")
def images(model) -> list[np.ndarray]:
    """40 images of each procedural kind in turn, as their one view: (1, size, size, 3) uint8."""
    rng, preprocessing = np.random.default_rng(3), model.config.preprocessing
    return [preprocessing.pixels(picture(kind, rng)) for kind in ("real", "gan", "diffusion", "other") * 10]


@pytest.fixture(scope="session")
def reference(model, images) -> dict[str, torch.Tensor]:
    """The logits of each task by torch in fp32, (images, classes)."""
    network = PixelNetwork(model.network, model.config.preprocessing)
    with torch.inference_mode():
        _, embeddings = network(torch.from_numpy(np.concatenate(images)))
        return model.logits(embeddings)
