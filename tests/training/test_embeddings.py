"""Each image is seen once, whatever is asked how often, and an interruption costs a shard."""

import numpy as np
import pytest
import torch

from imagetrust.images.views import Preprocessing, ViewRule
from training import embeddings as module
from training.data import read_artifact
from training.embeddings import Embeddings

VIEWS = (ViewRule(fraction=1.0), ViewRule(zoom=1.0, places=((0.0, 0.0), (1.0, 1.0))))


class MeanColour:
    """A network whose embedding is the mean colour; it counts the views that it sees and fails after some."""

    def __init__(self, fails_after: int | None = None) -> None:
        self.seen, self.fails_after = 0, fails_after

    def __call__(self, pixels):
        self.seen += len(pixels)
        if self.fails_after is not None and self.seen > self.fails_after:
            raise KeyboardInterrupt
        means = torch.from_numpy(pixels.mean(axis=(1, 2), dtype=np.float32))
        return means, means


def embeddings(runner, folder):
    return Embeddings(runner, Preprocessing(64, "bicubic", (0.5,) * 3, (0.5,) * 3, VIEWS), folder, workers=0)


@pytest.fixture
def records(data_root):
    return read_artifact(data_root)[::30]


def test_an_image_is_seen_once(records, tmp_path):
    runner = MeanColour()
    cached = embeddings(runner, tmp_path / "kept")
    first = cached.of(records)
    assert first.shape == (len(records), 3) and runner.seen == 3 * len(records)
    assert (cached.of(records[::-1]) == first[::-1]).all() and runner.seen == 3 * len(records)
    again = MeanColour()
    assert (embeddings(again, tmp_path / "kept").of(records[:5]) == first[:5]).all() and again.seen == 0


def test_without_a_folder_nothing_is_kept(records):
    runner = MeanColour()
    alone = embeddings(runner, None)
    assert (alone.of(records[:4]) == alone.of(records[:4])).all() and runner.seen == 24


def test_an_interruption_costs_a_shard_at_most(records, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD", 4)
    monkeypatch.setattr(module, "BATCH", 2)
    with pytest.raises(KeyboardInterrupt):
        embeddings(MeanColour(fails_after=30), tmp_path).of(records)
    runner = MeanColour()
    found = embeddings(runner, tmp_path).of(records)
    assert runner.seen == 3 * (len(records) - 8), "two shards of four were kept"
    assert (found == embeddings(MeanColour(), None).of(records)).all()
