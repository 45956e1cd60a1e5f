"""Semantic shortcut debiasing: weights that keep a head from learning what images show.

In a collected data set, buildings may be photographs and faces generated. A model that learns so is right on known
sources and wrong on the next generator that draws buildings. So an image whose class its content predicts counts less:
by the propensity, judged by content alone, that it were of the other class. These are the overlap weights of Li, Morgan
and Zaslavsky (2018, doi:10.1080/01621459.2016.1260466), under which content predicts nothing any more as far as a
logistic model of it goes.

Content is what ImageNet's EfficientNet-Lite0 sees of an image scaled down to 48 pixels: no trace of a generator
outlives that, scenes and styles do.
"""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader
from tqdm import tqdm

from imagetrust.images.views import Preprocessing, ViewRule
from imagetrust.models.registry import backbone_of
from training.augment import normalise
from training.data import Images, Record, balanced_weights, start_method
from training.train import autocast, bf16_is_fast

SMALL = 48  # pixels; what is scaled down to this keeps its content and loses its traces
SEEN_AT = 160  # pixels, scaled up again: the network is of little use far below the 224 that it was trained at
PARTS = 5  # each is judged by a model of the others
INVERSE_PENALTY = 1e-3
BACKBONE = backbone_of("efficientnet_lite0")
_PREPROCESSING = Preprocessing(SEEN_AT, "bicubic", BACKBONE.mean, BACKBONE.std, (ViewRule(fraction=1.0),))


def content_tensor(image: Image.Image) -> torch.Tensor:
    """Return an RGB image of any size as (3, SEEN_AT, SEEN_AT), with the detail of SMALL pixels."""
    (pixels,) = _PREPROCESSING.pixels(image.resize((SMALL, SMALL), Image.Resampling.BILINEAR))
    return normalise(pixels, _PREPROCESSING)


def content_features(records: Sequence[Record], device: torch.device, workers: int) -> np.ndarray:
    """Return (N, channels) float32: what ImageNet's network sees of the content of the records' images."""
    assert BACKBONE.pretrained is not None
    network = BACKBONE.build()
    network.load_state_dict(BACKBONE.pretrained(), strict=False)
    network.eval().to(device, memory_format=torch.channels_last)
    loader = DataLoader(
        Images([(record, 0) for record in records], content_tensor),
        32,
        num_workers=workers,
        multiprocessing_context=start_method(workers),
    )
    with torch.inference_mode(), autocast(device, bf16_is_fast(device)):
        features = [
            network(images.to(device, memory_format=torch.channels_last))[1].float().cpu()
            for images, _ in tqdm(loader, desc="content", mininterval=5)
        ]
    return torch.cat(features).numpy()


def propensities(features: np.ndarray, labels: np.ndarray, weights: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """Return (N,) the probability that each image is generated, by its content alone.

    Each comes from a logistic regression on the other parts: near relatives, which share a group, take no part.
    features: (N, channels). labels: (N,), 0 real, 1 generated. weights: (N,), how much each counts.
    """
    chances = np.empty(len(labels))
    parts = StratifiedGroupKFold(PARTS, shuffle=True, random_state=0)
    for fitted, judged in parts.split(features, labels, groups):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=INVERSE_PENALTY, max_iter=1000))
        model.fit(
            features[fitted], labels[fitted],
            logisticregression__sample_weight=weights[fitted] / weights[fitted].mean(),
        )  # fmt: skip
        chances[judged] = model.predict_proba(features[judged])[:, 1]
    return chances


def overlap_weights(weights: torch.Tensor, labels: np.ndarray, chances: np.ndarray, power: float) -> torch.Tensor:
    """Return weights (N,), each class summing to 1, under which content tells less of the class.

    power: 0 leaves the weights, 1 makes them overlap weights; above it, contents that both classes share count more.
    """
    chance_of_other = torch.from_numpy(np.where(labels == 1, 1 - chances, chances))
    weighted = weights * chance_of_other**power
    for label in np.unique(labels):
        of_class = torch.from_numpy(labels == label)
        weighted[of_class] /= weighted[of_class].sum()
    return weighted


def debiased_weights(items: list[tuple[Record, int]], power: float, device: torch.device, workers: int) -> torch.Tensor:
    """Return training.data.balanced_weights of the items of the task authenticity as overlap_weights."""
    weights, labels = balanced_weights(items), np.array([label for _, label in items])
    records = [record for record, _ in items]
    features = content_features(records, device, workers)
    chances = propensities(features, labels, weights.numpy(), [record.group for record in records])
    return overlap_weights(weights, labels, chances, power)
