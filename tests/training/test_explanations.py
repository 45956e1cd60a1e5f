"""The measures of a map tell a good one from a bad one, on a model whose evidence is known."""

import random

import numpy as np
import pytest
import torch

from archive_scripts.build import RELEASED
from handlers.classifier import Classifier
from handlers.heatmap import METHODS
from training.data import labelled, read_artifact
from training.explanations import CONTROLS, composite, control, curve_areas, points_into, score


class BrightCorner:
    """Stands in for a model: its class is as probable as the top left quarter is bright."""

    size = 80

    def features(self, squares):
        return np.stack(squares)

    def probabilities(self, features):
        bright = features[:, :40, :40].mean((1, 2, 3)) / 255
        return np.stack([1 - bright, bright], 1)


def corner_map(row: int, column: int) -> np.ndarray:
    drawn = np.zeros((4, 4), np.float32)
    drawn[row : row + 2, column : column + 2] = 1
    return drawn


def test_curves_prefer_the_map_that_is_right():
    pixels = np.zeros((80, 80, 3), np.uint8)
    pixels[:40, :40] = 255
    right = curve_areas(BrightCorner(), pixels, corner_map(0, 0), class_index=1)
    wrong = curve_areas(BrightCorner(), pixels, corner_map(2, 2), class_index=1)
    assert right[0] < wrong[0] and right[1] > wrong[1]


def test_composites_hold_the_patch_where_they_say():
    base, patch = np.zeros((50, 50, 3), np.uint8), np.full((50, 50, 3), 9, np.uint8)
    made, (left, top, side) = composite(base, patch, random.Random(3))
    assert made[top : top + side, left : left + side].min() == 9
    assert (made == 9).sum() == side * side * 3 and not base.any()


@pytest.mark.parametrize(("box", "inside"), [((0, 0, 25), True), ((50, 50, 25), False), ((13, 0, 25), False)])
def test_pointing(box, inside):
    assert points_into(corner_map(0, 0)[:4, :4], box, size=100) == inside


def test_controls_know_nothing_and_the_middle_is_in_the_middle():
    middle = control("middle", (5, 5), np.random.default_rng(0))
    assert np.unravel_index(middle.argmax(), middle.shape) == (2, 2)
    one, two = (control("random", (5, 5), np.random.default_rng(seed)) for seed in (1, 2))
    assert (one != two).any()


def test_every_map_and_control_is_scored(data_root):
    items = labelled(read_artifact(data_root), "authenticity")
    figures = score(Classifier(RELEASED, "authenticity", torch.device("cpu")), items, count=2, seed=0)
    assert set(figures) == {*METHODS, *CONTROLS}
    for row in figures.values():
        assert 0 <= row["deletion"] <= 1 and 0 <= row["insertion"] <= 1
        assert row["pointing_real"]["accuracy"] in (0, 0.5, 1)
