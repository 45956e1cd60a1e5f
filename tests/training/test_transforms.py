"""Training pictures get as much wear as was asked for, whatever their class."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from handlers.card import Preprocessing
from handlers.preprocessing import pixels_to_tensor
from training.data import Pictures, labelled, read_artifact
from training.transforms import TrainingTransform

PREPROCESSING = Preprocessing(size=96, crop=1.0, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3)
DRAWS = 300


def untouched(photo, wear: float) -> float:
    """The share of draws whose pixels are the picture's own, mirrored or not."""
    picture = photo.resize((96, 96))
    pixels = np.array(picture)
    own = [pixels_to_tensor(np.ascontiguousarray(p), PREPROCESSING) for p in (pixels, pixels[:, ::-1])]
    transform = TrainingTransform(PREPROCESSING, size=96, native=1.0, wear=wear, seed=0)
    drawn = [transform(picture) for _ in range(DRAWS)]
    assert all(one.shape == (3, 96, 96) for one in drawn)
    return sum(any(torch.equal(one, same) for same in own) for one in drawn) / DRAWS


# Recolouring (0.7 of the draws are spared) is no wear; of all wear 0.85 * 0.85 * 0.5 * 0.9 are spared at 1.
@pytest.mark.parametrize(("wear", "expected"), [(0.0, 0.7), (0.35, 0.7 * 0.95**2 * 0.825 * 0.965), (1.0, 0.7 * 0.325)])
def test_wear_is_as_frequent_as_asked(photo, wear, expected):
    assert untouched(photo, wear) == pytest.approx(expected, abs=0.08)


def epoch_of(data_root, workers: int, seed: int = 0, rank: int = 0, epoch: int = 0) -> torch.Tensor:
    """What one epoch of a run sees of a few pictures: (N, 3, 64, 64)."""
    transform = TrainingTransform(PREPROCESSING, size=64, native=0.5, wear=1.0, seed=seed, rank=rank)
    loader = DataLoader(
        Pictures(labelled(read_artifact(data_root)[::40], "authenticity"), transform), 4, num_workers=workers
    )
    for number in range(epoch + 1):
        transform.begin(number)
        pictures = torch.cat([batch for batch, _ in loader])
    return pictures


@pytest.mark.parametrize("workers", [0, 1])
def test_two_runs_see_the_same(data_root, workers):
    assert torch.equal(epoch_of(data_root, workers, epoch=1), epoch_of(data_root, workers, epoch=1))


def test_seeds_ranks_workers_and_epochs_see_something_else(data_root):
    first = epoch_of(data_root, workers=0)
    for other in ({"seed": 1}, {"rank": 1}, {"epoch": 1}, {"workers": 2}):
        assert not torch.equal(epoch_of(data_root, **({"workers": 0} | other)), first), other
