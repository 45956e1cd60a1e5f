"""Hot regions are boxes of the image, and a sentence says where they are."""

import numpy as np
import pytest

from imagetrust.explain.regions import MAX_REGIONS, hot_regions, in_words
from imagetrust.images.views import View
from tests.explain.test_overlay import spot


def test_regions_are_boxes_of_the_image():
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
