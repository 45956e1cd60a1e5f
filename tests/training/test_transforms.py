"""Training pictures get as much wear as was asked for, whatever their class."""

import random

import numpy as np
import pytest
import torch

from handlers.card import Preprocessing
from handlers.preprocessing import pixels_to_tensor
from training.transforms import TrainingTransform

PREPROCESSING = Preprocessing(size=96, crop=1.0, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3)
DRAWS = 300


def untouched(photo, wear: float) -> float:
    """The share of draws whose pixels are the picture's own, mirrored or not."""
    picture = photo.resize((96, 96))
    pixels = np.array(picture)
    own = [pixels_to_tensor(np.ascontiguousarray(p), PREPROCESSING) for p in (pixels, pixels[:, ::-1])]
    transform = TrainingTransform(PREPROCESSING, size=96, native=1.0, wear=wear)
    random.seed(0)
    drawn = [transform(picture) for _ in range(DRAWS)]
    assert all(one.shape == (3, 96, 96) for one in drawn)
    return sum(any(torch.equal(one, same) for same in own) for one in drawn) / DRAWS


# Recolouring (0.7 of the draws are spared) is no wear; of all wear 0.85 * 0.85 * 0.5 * 0.9 are spared at 1.
@pytest.mark.parametrize(("wear", "expected"), [(0.0, 0.7), (0.35, 0.7 * 0.95**2 * 0.825 * 0.965), (1.0, 0.7 * 0.325)])
def test_wear_is_as_frequent_as_asked(photo, wear, expected):
    assert untouched(photo, wear) == pytest.approx(expected, abs=0.08)
