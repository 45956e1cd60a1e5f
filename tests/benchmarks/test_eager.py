"""The eager baselines see what the predictor sees: the same views, and the mean over them."""

import numpy as np
import pytest
import torch

from benchmarks.servers.eager import TASK, EagerNetwork, transform
from imagetrust.images.views import ViewRule
from imagetrust.models.model import Model
from imagetrust.models.registry import backbone_of
from tests.releases import untrained_release

FRACTION, NATIVE, HALF = ViewRule(fraction=1.0), ViewRule(zoom=1.0), ViewRule(zoom=2.0)


@pytest.fixture(scope="module")
def release_of(tmp_path_factory):
    def make(*views: ViewRule):
        return untrained_release(tmp_path_factory.mktemp("eager"), backbone_of("resnet18"), *views, size=64)

    return make


@pytest.mark.parametrize("rules", [(FRACTION,), (ViewRule(fraction=0.9),), (FRACTION, NATIVE, HALF)])
def test_every_view_of_the_release_is_made(rules, release_of, photo):
    folder = release_of(*rules)
    preprocessing = Model(folder).config.preprocessing
    seen = preprocessing.pixels(photo) / 255
    mean, std = np.array(preprocessing.mean), np.array(preprocessing.std)
    made = transform(folder)(photo).permute(0, 2, 3, 1).numpy() * std + mean
    assert made.shape == (len(rules), 64, 64, 3) == seen.shape
    for rule, ours, theirs in zip(rules, seen, made, strict=True):
        assert np.abs(ours - theirs).mean() < (1e-6 if rule is NATIVE else 0.02), rule


def test_an_answer_is_the_mean_over_the_views(release_of, photo):
    folder = release_of(FRACTION, NATIVE, HALF)
    network, views = EagerNetwork(folder), transform(folder)(photo)
    with torch.inference_mode():
        each = torch.stack([network(view[None, None])[0] for view in views])
        both = network(torch.stack([views, views.flip(0)]))
    assert both.shape == (2, 2) and torch.allclose(both, each.mean(0).expand(2, 2), atol=1e-5)
    model = Model(folder)
    assert torch.allclose(both[:1], model.heads[TASK](model.network(views)[1]).mean(0, keepdim=True), atol=1e-5)


def test_views_elsewhere_than_in_the_centre_are_refused(release_of):
    with pytest.raises(ValueError, match="centre"):
        transform(release_of(FRACTION, ViewRule(zoom=1.0, places=((0, 0), (1, 1)))))
