"""The closed form is the grad-cam package's map, and the overlay shows it where the network looked."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from archive_scripts.build import RELEASED
from handlers.classifier import Classifier
from handlers.heatmap import OVERLAY_SIDE, grad_cam, overlay_png, thumbnail
from handlers.network import load_network
from handlers.preprocessing import View, central_view


@pytest.mark.parametrize("name", ["authenticity", "generator_type"])
def test_equals_the_grad_cam_package(name, photo):
    classifier = Classifier(RELEASED, name, torch.device("cpu"))
    network = load_network(RELEASED / f"{name}.safetensors", classifier.card)
    size = classifier.card.preprocessing.size
    batch = torch.stack([classifier.prepare(photo), classifier.prepare(photo.rotate(180))])
    features = classifier.features(list(batch))
    assert torch.allclose(classifier.logits(features), network(batch), atol=1e-5)
    compared = 0
    with GradCAM(model=network, target_layers=[network.layer4[-1]]) as reference:
        for index in range(len(classifier.card.classes)):
            expected = reference(input_tensor=batch, targets=[ClassifierOutputTarget(index)] * 2)
            for item in range(2):
                heat = grad_cam(features[item], classifier.head, index)
                # The package enlarges the scaled map to the input's size and scales it again: so it is compared.
                enlarged = scale_cam_image(scale_cam_image(heat[None], (size, size)))[0]
                if expected[item].max() > 0:
                    compared += 1
                    assert np.abs(enlarged - expected[item]).max() < 1e-4
    assert compared >= 2, "no map had positive evidence, so nothing was compared"


def test_no_evidence_is_a_cold_map():
    head = torch.nn.Linear(4, 2)
    torch.nn.init.constant_(head.weight, -1.0)
    heat = grad_cam(torch.ones(4, 3, 3), head, 1)
    assert heat.shape == (3, 3) and not heat.any()


@pytest.mark.parametrize("size", [(64, 48), (3000, 2000), (40, 4000), (5000, 33)])
def test_overlay_is_bounded_and_keeps_its_shape(size):
    image = Image.new("RGB", size, "grey")
    heat = np.zeros((5, 5), np.float32)
    heat[0, 0] = 1
    small = thumbnail(image)
    png = Image.open(io.BytesIO(base64.b64decode(overlay_png(small, heat, central_view(*size), size))))
    assert png.format == "PNG" and png.size == small.size
    assert max(png.size) <= OVERLAY_SIDE


def test_heat_lands_where_the_view_was():
    image = Image.new("RGB", (400, 200), (90, 90, 90))
    heat = np.zeros((5, 5), np.float32)
    heat[2, 4] = 1  # the right edge of the view, half way down
    view = View(100, 0, 300, 200)
    png = np.asarray(Image.open(io.BytesIO(base64.b64decode(overlay_png(image, heat, view, image.size)))), float)
    changed = np.abs(png - 90).sum(2)
    assert changed[:, :99].max() == 0 and changed[:, 301:].max() == 0
    row, column = np.unravel_index(changed.argmax(), changed.shape)
    assert 260 <= column < 300 and 70 <= row < 130
