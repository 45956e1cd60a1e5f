"""Each map is the grad-cam package's of that name, whatever the backbone."""

import functools

import numpy as np
import pytest
import torch
from pytorch_grad_cam import EigenCAM, GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from imagetrust.explain.cam import METHODS, class_activation
from imagetrust.models.config import TASKS
from imagetrust.models.model import Model
from imagetrust.models.registry import BACKBONES
from imagetrust.runtime.torch import PixelNetwork
from tests.releases import RELEASE, untrained_release
from tests.small_vit import SMALL_VIT

REFERENCES = {
    "centred-hirescam": HiResCAM,
    "gradcam": GradCAM,
    "gradcam++": GradCAMPlusPlus,
    "layercam": LayerCAM,
    "eigencam": EigenCAM,
}


def test_every_method_has_a_reference():
    assert set(REFERENCES) == set(METHODS)


@pytest.fixture(scope="module", params=["released", "resnet18", "small_vit"])
def model(request, tmp_path_factory):
    if request.param == "released":
        return Model(RELEASE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, SMALL_VIT.name, SMALL_VIT)
        return Model(untrained_release(tmp_path_factory.mktemp("model"), BACKBONES[request.param]))


class WithHead(torch.nn.Module):
    """The network, whose features pass `shown` on their way: where `centred`, less their mean over the places."""

    def __init__(self, model: Model, task: str, centred: bool) -> None:
        super().__init__()
        self.features, self.pool, self.head = model.network.features, model.network.pool, model.heads[task]
        self.shown, self.centred = torch.nn.Identity(), centred
        self.backbone = model.backbone

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.features(images)
        mean = torch.zeros_like(features)
        places = self.backbone.grid(features).detach()
        if self.centred and self.backbone.layout == "grid":
            mean += places.mean((2, 3), keepdim=True)
        elif self.centred:
            mean[:, -places[0, 0].numel() :] = places.mean((2, 3))[:, None]
        return self.head(self.pool(self.shown(features - mean) + mean))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("task", TASKS)
def test_equals_the_grad_cam_package(model, task, method, photo):
    preprocessing = model.config.preprocessing
    pixels = np.concatenate([preprocessing.pixels(image) for image in (photo, photo.rotate(180))])
    normalised = PixelNetwork(model.network, preprocessing)
    images = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - normalised.mean) / normalised.std
    with torch.inference_mode():
        features, embeddings = normalised(torch.from_numpy(pixels))
    network = WithHead(model, task, method == "centred-hirescam").eval()
    torch.testing.assert_close(network(images), model.logits(embeddings.clone())[task], atol=1e-4, rtol=1e-4)
    compared, size = 0, (preprocessing.size, preprocessing.size)
    enlarge = functools.partial(_as_the_package_enlarges, size=size)
    images.requires_grad_()  # the package asks for gradients, which the frozen weights alone would not make
    with REFERENCES[method](network, [network.shown], model.backbone.grid) as reference:
        for index, class_name in enumerate(model.config.heads[task].classes):
            expected = reference(input_tensor=images, targets=[ClassifierOutputTarget(index)] * 2)
            maps = class_activation(method, model, features, task, class_name)
            for own, theirs in zip(maps, expected, strict=True):
                if theirs.max() == 0:
                    continue
                compared += 1
                difference = np.abs(enlarge(own) - theirs).max()
                if method == "eigencam" and difference > 1e-3:
                    continue  # the package leaves the sign to chance; ours is tested below
                assert difference < 1e-3
    assert compared >= 2, "no map had positive evidence, so nothing was compared"


def _as_the_package_enlarges(own: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    return scale_cam_image(scale_cam_image(own.numpy()[None], size))[0]


@pytest.mark.parametrize("sign", [1, -1])
def test_eigencam_is_hot_where_the_features_are_strongest(sign):
    torch.manual_seed(0)
    features = torch.rand(8, 5, 5) * 0.1
    features[:, 3, 1] += 5
    features = features * torch.tensor([1.0, sign * 0.1, 1, 1, 1, 1, 1, 1]).view(8, 1, 1)
    drawn = METHODS["eigencam"](features, torch.zeros(8, 5, 5))
    assert divmod(int(drawn.argmax()), 5) == (3, 1) and drawn[3, 1] > 0


def test_no_evidence_is_a_cold_map():
    model = Model(RELEASE)
    torch.nn.init.constant_(model.heads["authenticity"].weight, -1.0)
    (drawn,) = class_activation("gradcam", model, torch.ones(1, 1280, 3, 3), "authenticity", "generated")
    assert drawn.shape == (3, 3) and not drawn.any()
