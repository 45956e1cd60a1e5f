"""The overlay is bounded and its heat lies where the view was."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from imagetrust.explain.overlay import OVERLAY_SIDE, overlay_png, thumbnail
from imagetrust.images.views import View


def spot(row: int, column: int) -> np.ndarray:
    """A map of 5 x 5 with one hot cell."""
    drawn = np.zeros((5, 5), np.float32)
    drawn[row, column] = 1
    return drawn


@pytest.mark.parametrize("size", [(64, 48), (3000, 2000), (40, 4000), (5000, 33)])
def test_overlay_is_bounded_and_keeps_its_shape(size):
    image = Image.new("RGB", size, "grey")
    small, view = thumbnail(image), View(0, 0, min(size), min(size))
    png = Image.open(io.BytesIO(base64.b64decode(overlay_png(spot(0, 0), view, small, size))))
    assert png.format == "PNG" and png.size == small.size
    assert max(png.size) <= OVERLAY_SIDE


def test_heat_lands_where_the_view_was():
    image, view = Image.new("RGB", (240, 120), (90, 90, 90)), View(60, 0, 180, 120)
    data = overlay_png(spot(2, 4), view, image, image.size)  # the right edge of the view, half way down
    png = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"), float)
    changed = np.abs(png - 90).sum(2)
    # The palette may move a colour by a little.
    assert changed[:, :59].max() < 30 and changed[:, 181:].max() < 30 < changed.max()
    row, column = np.unravel_index(changed.argmax(), changed.shape)
    assert 156 <= column < 180 and 42 <= row < 78
