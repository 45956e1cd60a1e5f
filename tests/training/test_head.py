"""A head fitted anew says what a logistic regression on its features says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from imagetrust.models.registry import BACKBONES
from tests.releases import untrained_release
from training.data import DataError, Record, read_artifact
from training.head import fit, fit_head, fit_heads
from training.recipe import Recipe

C = 1e-3


@pytest.mark.parametrize("classes", [2, 4])
def test_it_is_the_logistic_regression_on_raw_features(classes):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, 400)
    features = (rng.normal(size=(400, 12)) + rng.normal(size=(classes, 12))[labels]) * rng.uniform(0.5, 3, 12) + 5
    weights = rng.uniform(0.5, 2, 400)
    weight, bias = fit_head(features, labels, weights, C)
    assert weight.shape == (classes, 12) and bias.shape == (classes,)

    scaler = StandardScaler().fit(features)
    expected = LogisticRegression(C=C, max_iter=1000).fit(
        scaler.transform(features), labels, sample_weight=weights / weights.mean()
    )
    logits = features @ weight.T + bias
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert probabilities == pytest.approx(expected.predict_proba(scaler.transform(features)), abs=1e-6)


def test_a_feature_that_hardly_varies_gets_no_large_weight():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    features = rng.normal(size=(400, 8)) + labels[:, None]
    features[:, 0] = 1e-6 * (features[:, 0] > 0.5)
    weight, _ = fit_head(features, labels, np.ones(400), C)
    assert np.abs(weight[:, 0]).max() < np.abs(weight[:, 1:]).max()


def test_a_class_without_images_is_named(data_root, tmp_path, monkeypatch):
    run = untrained_release(tmp_path / "run", BACKBONES["resnet18"], size=32)
    Recipe(backbone="resnet18", size=32, content=0.0).write(run)
    without_gan = [record for record in read_artifact(data_root)[::8] if record.family != "gan"]
    monkeypatch.setattr("training.head.read_artifact", lambda root: without_gan)
    with pytest.raises(DataError, match="no training image is gan"):
        fit(run, data_root, workers=0)
    assert not (run / "fitted").exists()


def test_heads_are_not_fitted_to_partly_real_images():
    """A restored photograph, whose embedding contradicts all others, changes no head."""
    families = ["real", "gan", "diffusion", "other"] * 5
    records = [Record(Path(str(n)), f"{family}_x", family, family, "", str(n)) for n, family in enumerate(families)]
    embeddings = np.eye(4)[[families.index(family) for family in families]] + 0.01 * np.arange(20)[:, None]
    restored = Record(Path("restored"), "gan_gfpgan_a", "gan", "gan", "", "restored")
    recipe, device = Recipe(content=0), torch.device("cpu")
    alone = fit_heads(records, embeddings, recipe, device, 0)
    beside = fit_heads([*records, restored], np.concatenate([embeddings, [[9.0, -9, 9, -9]]]), recipe, device, 0)
    assert all(torch.equal(alone[name], beside[name]) for name in alone)
