"""Native crops show the picture's own pixels, and several views count alike."""

import numpy as np
import pytest
import torch
from PIL import Image

from archive_scripts.build import RELEASED
from handlers.classifier import Classifier
from handlers.preprocessing import pixels_to_tensor
from training.data import labelled, read_artifact
from training.evaluate import predict
from training.precision import bf16_is_fast
from training.views import CORNERS, MIDDLE, NativeCrops, Served, logits_over_views


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(RELEASED, "authenticity", torch.device("cpu"))


def test_crops_are_the_pictures_own_pixels(classifier):
    preprocessing = classifier.card.preprocessing
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    crops = NativeCrops(preprocessing, 40, (MIDDLE, *CORNERS))(Image.fromarray(pixels))
    whole = pixels_to_tensor(pixels, preprocessing)
    corners = [(15, 5), (0, 0), (30, 0), (0, 10), (30, 10)]  # left, top
    for crop, (left, top) in zip(crops, corners, strict=True):
        assert torch.equal(crop, whole[:, top : top + 40, left : left + 40])


@pytest.mark.parametrize("size", [(20, 90), (90, 20), (33, 33)])
def test_small_pictures_are_enlarged(classifier, size):
    crops = NativeCrops(classifier.card.preprocessing, 40, (MIDDLE, *CORNERS))(Image.new("RGB", size))
    assert crops.shape == (5, 3, 40, 40)


def test_one_view_is_what_the_server_says(classifier, data_root):
    items = labelled(read_artifact(data_root), "authenticity")[:9]
    served = Served(classifier.card.preprocessing)
    one = logits_over_views(classifier, items, served)
    alike = predict(classifier, items, 3, 0, bf16=bf16_is_fast(classifier.device))  # views are seen so too
    assert np.allclose(one, alike, atol=0.05)
    twice = logits_over_views(classifier, items, lambda image: served(image).expand(2, -1, -1, -1))
    assert torch.allclose(one, twice, atol=0.05)
