"""Training images get as many corruptions as were asked for, whatever their class, and the same for the same seed."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from imagetrust.images.views import Preprocessing, ViewRule
from training.augment import Augmentation, cutmix, normalise
from training.data import start_method

PREPROCESSING = Preprocessing(96, "bicubic", (0.5,) * 3, (0.5,) * 3, (ViewRule(fraction=1.0),))
SAMPLES = 300


def untouched(photo, strength: float) -> float:
    """The fraction of samples whose pixels are the image's own, mirrored or not."""
    image = photo.resize((96, 96))
    pixels = np.array(image)
    own = [normalise(np.ascontiguousarray(p), PREPROCESSING) for p in (pixels, pixels[:, ::-1])]
    augmentation = Augmentation(PREPROCESSING, size=96, native=1.0, strength=strength)
    torch.manual_seed(0)
    samples = [augmentation(image) for _ in range(SAMPLES)]
    assert all(one.shape == (3, 96, 96) for one in samples)
    return sum(any(torch.equal(one, same) for same in own) for one in samples) / SAMPLES


# Recolouring, which spares 0.7, is no corruption; of all of these 0.85 * 0.85 * 0.5 * 0.9 are spared at 1.
@pytest.mark.parametrize(
    ("strength", "expected"), [(0.0, 0.7), (0.35, 0.7 * 0.95**2 * 0.825 * 0.965), (1.0, 0.7 * 0.325)]
)
def test_corruptions_are_as_frequent_as_asked(photo, strength, expected):
    assert untouched(photo, strength) == pytest.approx(expected, abs=0.08)


class Repeated:
    """One image, augmented, four times."""

    def __init__(self, photo):
        self.photo, self.augmentation = photo, Augmentation(PREPROCESSING, 96, 0.5, 1.0)

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self.augmentation(self.photo)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_seed_decides_the_augmentation(photo, workers):
    def sample(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        loader = DataLoader(
            Repeated(photo),
            4,
            num_workers=workers,
            multiprocessing_context=start_method(workers),
            generator=torch.Generator().manual_seed(seed),
        )
        return next(iter(loader))

    assert torch.equal(sample(1), sample(1))
    assert not torch.equal(sample(1), sample(2))


def test_cutmix_says_whose_pixels_are_where():
    torch.manual_seed(0)
    images = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 3, 40, 40).contiguous()
    mixed, partners, shares = cutmix(images)
    for index in range(8):
        own = (mixed[index] == index).float().mean()
        expected = 1.0 if partners[index] == index else float(shares[index])
        assert float(own) == pytest.approx(expected, abs=1e-6)
    assert 0.2 < shares.mean() < 0.9
