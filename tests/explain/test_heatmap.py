"""Maps of several views become one, in the image's own pixels."""

import numpy as np
import pytest

from imagetrust.explain.heatmap import MAX_CELLS, compose, scale
from imagetrust.explain.regions import hot_regions
from imagetrust.images.views import View


def flat(value: float, side: int = 6) -> np.ndarray:
    return np.full((side, side), value, np.float32)


def test_one_view_stays_as_it_is():
    drawn = np.random.default_rng(0).random((6, 6), np.float32)
    composed, view = compose([drawn], [View(3, 4, 63, 64)])
    assert composed is drawn and view == View(3, 4, 63, 64)


def test_views_lie_where_they_were_and_overlaps_are_means():
    composed, covered = compose([flat(1), flat(3)], [View(0, 0, 60, 60), View(30, 0, 90, 60)])
    assert covered == View(0, 0, 90, 60) and composed.shape == (6, 9)
    assert (composed[:, :3] == 1).all() and (composed[:, 3:6] == 2).all() and (composed[:, 6:] == 3).all()


def test_what_no_view_covers_is_cold():
    composed, covered = compose([flat(1), flat(1)], [View(10, 10, 70, 70), View(130, 130, 190, 190)])
    assert covered == View(10, 10, 190, 190) and composed.shape == (18, 18)
    assert not composed[:6, 12:].any() and not composed[12:, :6].any() and composed[:6, :6].all()


def test_a_hot_native_crop_in_a_cold_whole_is_a_region_of_the_image():
    whole, crop = View(0, 0, 600, 600), View(400, 400, 500, 500)
    composed, covered = compose([flat(0), flat(1)], [whole, crop])
    (region,) = hot_regions(scale(composed), covered)
    assert region["left"] == pytest.approx(400, abs=15) and region["right"] == pytest.approx(500, abs=15)
    assert region["top"] == pytest.approx(400, abs=15) and region["bottom"] == pytest.approx(500, abs=15)


def test_the_map_is_bounded():
    composed, _ = compose([flat(1), flat(1)], [View(0, 0, 8000, 8000), View(0, 0, 192, 192)])
    assert composed.shape == (MAX_CELLS, MAX_CELLS)


def test_scale():
    assert scale(np.array([[1, 3]], np.float32)) == pytest.approx(np.array([[0, 1]]), abs=1e-6)
    assert not scale(flat(0)).any()
