"""Each map is the grad-cam package's of that name, and is shown and told where the network looked."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_grad_cam import EigenCAM, GradCAM, GradCAMPlusPlus, LayerCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from archive_scripts.build import RELEASED
from handlers.classifier import Classifier
from handlers.decode import Picture
from handlers.heatmap import METHODS, eigen_cam, heat
from handlers.overlay import OVERLAY_SIDE, Frame, frame_of, overlay_png
from handlers.preprocessing import View, picture_to_tensor
from handlers.regions import MAX_REGIONS, hot_regions, in_words
from training.initial_weights import build_network

REFERENCES = {"gradcam": GradCAM, "gradcam++": GradCAMPlusPlus, "layercam": LayerCAM, "eigencam": EigenCAM}


def test_every_method_has_a_reference():
    assert set(REFERENCES) == set(METHODS)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["authenticity", "generator_type"])
def test_equals_the_grad_cam_package(name, method, photo):
    classifier = Classifier(RELEASED, name, torch.device("cpu"))
    network = build_network(
        classifier.card.architecture, str(RELEASED / f"{name}.safetensors"), len(classifier.card.classes)
    ).eval()
    size = classifier.card.preprocessing.size

    def prepared(image):
        return picture_to_tensor(image, classifier.card.preprocessing)

    batch = torch.stack([prepared(photo), prepared(photo.rotate(180))])
    features = classifier.features(list(batch))
    assert torch.allclose(classifier.logits(features), network(batch), atol=1e-5)
    compared = 0
    last, _, _ = list(network.children())[-3:]  # the pooling and the head come after it
    with REFERENCES[method](model=network, target_layers=[last]) as reference:
        for index in range(len(classifier.card.classes)):
            expected = reference(input_tensor=batch, targets=[ClassifierOutputTarget(index)] * 2)
            for item in range(2):
                drawn = heat(method, features[item], classifier.head, index)
                # The package enlarges the scaled map to the input's size and scales it again: so it is compared.
                enlarged = scale_cam_image(scale_cam_image(drawn[None], (size, size)))[0]
                if expected[item].max() > 0:
                    compared += 1
                    if method == "eigencam" and np.abs(enlarged - expected[item]).max() > 1e-3:
                        # The package's sign is chance; the map of the other sign must then fit.
                        other = eigen_cam(features[item], classifier.head.weight[index].detach()).neg().relu()
                        enlarged = scale_cam_image(scale_cam_image((other / other.max()).numpy()[None], (size, size)))[
                            0
                        ]
                    assert np.abs(enlarged - expected[item]).max() < 1e-3
    assert compared >= 2, "no map had positive evidence, so nothing was compared"


def test_no_evidence_is_a_cold_map():
    head = torch.nn.Linear(4, 2)
    torch.nn.init.constant_(head.weight, -1.0)
    drawn = heat("gradcam", torch.ones(4, 3, 3), head, 1)
    assert drawn.shape == (3, 3) and not drawn.any()


@pytest.mark.parametrize("size", [(64, 48), (3000, 2000), (40, 4000), (5000, 33)])
def test_overlay_is_bounded_and_keeps_its_shape(size):
    image = Image.new("RGB", size, "grey")
    drawn = np.zeros((5, 5), np.float32)
    drawn[0, 0] = 1
    frame = frame_of(Picture(image, image.size, "PNG", "RGB", 1, Image.Exif()), 1.0)
    png = Image.open(io.BytesIO(base64.b64decode(overlay_png(drawn, frame))))
    assert png.format == "PNG" and png.size == frame.thumbnail.size
    assert max(png.size) <= OVERLAY_SIDE


def spot(row: int, column: int) -> np.ndarray:
    """A map of 5 x 5 with one hot cell."""
    drawn = np.zeros((5, 5), np.float32)
    drawn[row, column] = 1
    return drawn


def test_heat_lands_where_the_view_was():
    image = Image.new("RGB", (240, 120), (90, 90, 90))
    view = View(60, 0, 180, 120)
    data = overlay_png(spot(2, 4), Frame(image, view, image.size))  # the right edge of the view, half way down
    png = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"), float)
    changed = np.abs(png - 90).sum(2)
    # The palette may move a colour by a little.
    assert changed[:, :59].max() < 30 and changed[:, 181:].max() < 30 < changed.max()
    row, column = np.unravel_index(changed.argmax(), changed.shape)
    assert 156 <= column < 180 and 42 <= row < 78


def test_regions_are_boxes_of_the_picture():
    (region,) = hot_regions(spot(2, 4), View(1000, 0, 3000, 2000))
    assert 2500 <= region["left"] < region["right"] <= 3000
    assert 700 <= region["top"] < region["bottom"] <= 1300
    assert 0.5 <= region["heat"] <= 1 and 0 < region["share"] < 0.1


def test_two_spots_are_two_regions():
    regions = hot_regions(np.maximum(spot(0, 0), spot(4, 4)), View(0, 0, 500, 500))
    assert len(regions) == 2
    assert len(hot_regions(_dots(40), View(0, 0, 40, 40))) == MAX_REGIONS


def _dots(side: int) -> np.ndarray:
    dots = np.zeros((side, side), np.float32)
    dots[::6, ::6] = 1
    return dots


def test_a_cold_map_has_no_region():
    assert hot_regions(np.zeros((5, 5), np.float32), View(0, 0, 100, 100)) == []
    assert "No part" in in_words("generated", [], (100, 100))


@pytest.mark.parametrize(
    ("row", "column", "place"),
    [(0, 0, "at the top left"), (2, 2, "in the middle"), (4, 2, "at the bottom"), (2, 4, "on the right")],
)
def test_the_sentence_names_the_place(row, column, place):
    view = View(0, 0, 500, 500)
    sentence = in_words("gan", hot_regions(spot(row, column), view), (500, 500))
    assert place in sentence and "'gan'" in sentence


def test_evidence_everywhere_is_said_so():
    view = View(0, 0, 500, 500)
    assert "spread" in in_words("gan", hot_regions(np.ones((5, 5), np.float32), view), (500, 500))
