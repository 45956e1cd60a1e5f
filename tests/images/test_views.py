"""Where the views of an image lie, and that what the network sees of it is golden."""

import numpy as np
import pytest
from PIL import Image

from imagetrust.images.views import Preprocessing, View, ViewRule

CORNERS = ((0.0, 0.0), (1.0, 1.0))


def preprocessing(size=192, *rules: ViewRule) -> Preprocessing:
    return Preprocessing(size, "bicubic", (0.5,) * 3, (0.5,) * 3, rules or (ViewRule(fraction=1.0),))


@pytest.mark.parametrize(
    ("size", "fraction", "view"),
    [
        ((200, 200), 1.0, (0, 0, 200, 200)),
        ((300, 200), 1.0, (50, 0, 250, 200)),
        ((33, 64), 1.0, (0, 15, 33, 48)),
        ((200, 200), 0.96, (4, 4, 196, 196)),
        ((300, 200), 0.5, (100, 50, 200, 150)),
        ((1, 900), 0.4, (0, 449, 1, 450)),
    ],
)
def test_the_central_square(size, fraction, view):
    assert preprocessing(192, ViewRule(fraction=fraction)).views_of(*size) == [View(*view)]


def test_native_crops_where_the_image_is_large_enough():
    two = preprocessing(100, ViewRule(fraction=1.0), ViewRule(zoom=1.0, places=CORNERS), ViewRule(zoom=2.0))
    assert two.views_of(300, 180) == [View(60, 0, 240, 180), View(0, 0, 100, 100), View(200, 80, 300, 180)]
    assert two.views_of(99, 300) == [View(0, 100, 99, 199)]
    assert two.views_of(400, 200)[-1] == View(100, 0, 300, 200)


def test_a_native_crop_is_not_resampled():
    pixels = np.random.default_rng(0).integers(0, 256, (150, 180, 3), dtype=np.uint8)
    seen = preprocessing(100, ViewRule(fraction=1.0), ViewRule(zoom=1.0, places=CORNERS)).pixels(
        Image.fromarray(pixels)
    )
    assert seen.shape == (3, 100, 100, 3) and seen.dtype == np.uint8
    assert (seen[1] == pixels[:100, :100]).all() and (seen[2] == pixels[50:, 80:]).all()


def test_decoding_may_scale_down_only_where_no_view_is_native():
    assert preprocessing(192, ViewRule(fraction=0.96)).min_side() == 300
    assert preprocessing(192, ViewRule(fraction=1.0), ViewRule(fraction=0.5)).min_side() == 576
    assert preprocessing(192, ViewRule(fraction=1.0), ViewRule(zoom=1.0)).min_side() is None


def test_an_image_of_the_training_datas_size_is_not_resampled():
    """192 of 200 pixels are seen as they are: resampling would blur the traces that a detector looks for."""
    pixels = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    (seen,) = preprocessing(192, ViewRule(fraction=0.96)).pixels(Image.fromarray(pixels))
    assert (seen == pixels[4:196, 4:196]).all()


def test_preprocessing_is_golden():
    """A change of a pixel's way into the network changes every released model's meaning: it must be deliberate."""
    y, x = np.mgrid[0:180, 0:240]
    pixels = np.stack([x % 256, (y * 3) % 256, (x * y) % 256], axis=-1).astype(np.uint8)
    (seen,) = preprocessing(160).pixels(Image.fromarray(pixels))
    scaled = (seen / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    measured = [*scaled.mean((0, 1)), *scaled.std((0, 1), ddof=1), *scaled[80, 80]]
    golden = [-0.0715, 0.0998, 0.3821, 0.89, 1.3257, 0.8603, -0.0629, -1.7906, -0.5495]
    assert measured == pytest.approx(golden, abs=1e-3)
