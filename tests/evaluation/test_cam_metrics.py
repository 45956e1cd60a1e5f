"""The measures of a map tell a good one from a bad one, on a model whose evidence is known."""

import random

import numpy as np
import pytest

from evaluation.cam_metrics import CONTROLS, composite, control_map, deletion_insertion, map_metrics, points_into
from imagetrust.explain.cam import METHODS
from imagetrust.models.model import Model
from imagetrust.models.registry import BACKBONES
from imagetrust.runtime.engine import exact_engine
from tests.evaluation.tiny_backbone import TINY
from tests.releases import untrained_release
from tests.small_vit import SMALL_VIT


def brightness_of_the_corner(views: list[np.ndarray]) -> np.ndarray:
    """Stand in for a model: a class is as probable as the top left quarter is bright."""
    return np.stack(views)[:, :40, :40].mean((1, 2, 3)) / 255


def corner_map(row: int, column: int) -> np.ndarray:
    heat = np.zeros((4, 4), np.float32)
    heat[row : row + 2, column : column + 2] = 1
    return heat


def test_curves_prefer_the_map_that_is_right():
    pixels = np.zeros((80, 80, 3), np.uint8)
    pixels[:40, :40] = 255
    right = deletion_insertion(brightness_of_the_corner, pixels, corner_map(0, 0))
    wrong = deletion_insertion(brightness_of_the_corner, pixels, corner_map(2, 2))
    assert right[0] < wrong[0] and right[1] > wrong[1]


def test_composites_hold_the_patch_where_they_say():
    base, patch = np.zeros((50, 50, 3), np.uint8), np.full((50, 50, 3), 9, np.uint8)
    made, (left, top, side) = composite(base, patch, random.Random(3))
    assert made[top : top + side, left : left + side].min() == 9
    assert (made == 9).sum() == side * side * 3 and not base.any()


@pytest.mark.parametrize(("box", "inside"), [((0, 0, 25), True), ((50, 50, 25), False), ((13, 0, 25), False)])
def test_pointing(box, inside):
    assert points_into(corner_map(0, 0), box, size=100) == inside


def test_controls_know_nothing_and_the_centre_is_in_the_centre():
    centre = control_map("centre", (5, 5), np.random.default_rng(0))
    assert np.unravel_index(centre.argmax(), centre.shape) == (2, 2)
    one, two = (control_map("random", (5, 5), np.random.default_rng(seed)) for seed in (1, 2))
    assert (one != two).any()


@pytest.fixture(params=[TINY, SMALL_VIT], ids=lambda backbone: backbone.name)
def any_engine(request, tmp_path, monkeypatch):
    """An untrained convolutional network, and a transformer, whose features have no places of their own."""
    monkeypatch.setitem(BACKBONES, request.param.name, request.param)
    return exact_engine(Model(untrained_release(tmp_path / "0.0", request.param)))


def test_every_map_and_control_is_scored(any_engine, records):
    found = map_metrics(any_engine, records, count=1, seed=0)
    assert set(found) == {*METHODS, *CONTROLS}
    for row in found.values():
        assert 0 < row["deletion"] < 1 and 0 < row["insertion"] < 1
        assert row["pointing"]["real"]["value"] in (0, 1) and row["pointing"]["generated"]["count"] == 1
