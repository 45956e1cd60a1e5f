"""Copies of pictures and the layer of heat."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from tests.procedural import encoded
from tests.ui.conftest import ROOT
from tests.ui.results import explanation
from ui.pictures import PREVIEW, THUMBNAIL, copies, heat_layer


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF", "BMP"])
def test_copies_of_every_format(photo, image_format):
    made = copies(encoded(photo, image_format))
    assert opened(made.preview).size == photo.size and opened(made.preview).format == "JPEG"
    assert max(opened(made.thumbnail).size) == THUMBNAIL


def test_copies_of_a_heic():
    assert opened(copies((ROOT / "tests" / "data" / "gradient.heic").read_bytes()).preview).width > 0


def test_a_large_picture_gets_a_small_copy(photo):
    assert max(opened(copies(encoded(photo.resize((4000, 3000)), "JPEG")).preview).size) == PREVIEW


def test_a_picture_that_lies_is_shown_upright(photo):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert opened(copies(encoded(photo, "JPEG", exif=exif)).preview).size == photo.size[::-1]


@pytest.mark.parametrize("data", [b"", b"no picture", bytes(5000)])
def test_what_is_no_picture_has_no_copy(data):
    assert copies(data) is None


def test_heat_is_opaque_and_cold_is_clear():
    layer = np.array(opened(heat_layer(explanation().inferred.heatmap)).convert("RGBA"))
    assert layer[:, 0, 3].max() < 10 and layer[:, -1, 3].min() > 240
    assert tuple(layer[0, -1, :3]) == pytest.approx((190, 10, 60), abs=8)  # the hottest is dark red


def test_a_map_without_heat_is_clear():
    cold = explanation(inferred__heatmap__values=[[0.0, 0.0]]).inferred.heatmap
    assert np.array(opened(heat_layer(cold)).convert("RGBA"))[..., 3].max() == 0
