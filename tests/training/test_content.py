"""A debiased head judges by what is left."""

import numpy as np
import pytest
import torch
from PIL import Image

from training.content import SEEN_AT, content_tensor, overlap_weights, propensities
from training.head import fit_head


@pytest.fixture(scope="module")
def world():
    """Images of two contents, one of them mostly generated, and a trace that tells the class a little."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 4000)
    content = (rng.random(4000) < np.where(labels == 1, 0.9, 0.1)).astype(float)
    trace = labels + rng.normal(0, 1, 4000)
    features = content[:, None] + rng.normal(0, 1, (4000, 200))  # a deep network sees a thing in many channels
    return labels, content, trace, features


def test_chances_follow_content_alone(world):
    labels, content, _, features = world
    chances = propensities(features, labels, np.ones(4000), [str(number) for number in range(4000)])
    assert chances[content == 1].mean() == pytest.approx(0.9, abs=0.1)
    assert chances[content == 0].mean() == pytest.approx(0.1, abs=0.1)


def test_weights_take_away_what_content_tells(world):
    labels, content, _, _ = world
    chances = np.where(content == 1, 0.9, 0.1)
    weights = overlap_weights(torch.ones(4000, dtype=torch.double), labels, chances, power=1).numpy()
    for label in (0, 1):
        assert weights[labels == label].sum() == pytest.approx(1)
        assert (weights * content)[labels == label].sum() == pytest.approx(0.5, abs=0.05)
    unchanged = overlap_weights(torch.ones(4000, dtype=torch.double), labels, chances, power=0).numpy()
    assert unchanged[labels == 1] == pytest.approx(1 / (labels == 1).sum())


def test_a_head_then_leans_on_the_trace(world):
    labels, content, trace, features = world
    chances = propensities(features, labels, np.ones(4000), [str(number) for number in range(4000)])
    seen = np.stack([content, trace], axis=1)

    def share_of_content(power: float) -> float:
        weights = overlap_weights(torch.ones(4000, dtype=torch.double), labels, chances, power).numpy()
        difference = np.abs(np.diff(fit_head(seen, labels, weights, 1e-3)[0], axis=0)[0])
        return difference[0] / difference.sum()

    assert share_of_content(1) < 0.35 < 0.6 < share_of_content(0)


def test_relatives_take_no_part_in_judging_each_other():
    """Each group has a content of its own that tells its class, and nothing else does: there is nothing to learn."""
    rng = np.random.default_rng(0)
    groups = np.arange(400) // 4
    features, labels = rng.normal(size=(100, 300))[groups], rng.integers(0, 2, 100)[groups]
    chances = propensities(features, labels, np.ones(400), [str(group) for group in groups])
    assert abs(((chances > 0.5) == labels).mean() - 0.5) < 0.2


def test_content_is_seen_without_fine_detail():
    checks = np.indices((192, 192)).sum(axis=0) % 2 * 255
    checkered = Image.fromarray(np.repeat(checks[:, :, None], 3, axis=2).astype(np.uint8))
    tensor = content_tensor(checkered)
    assert tensor.shape == (3, SEEN_AT, SEEN_AT)
    assert float(tensor.std()) < 0.02
