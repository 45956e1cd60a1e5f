"""How surely what a picture shows gives its class away, and weights that keep a head from learning just that.

In a collected data set, buildings may be photographs and faces generated. A model that learns so is right on known
sources and wrong on the next generator that draws buildings. So a picture whose class its content foretells counts
less: by the chance, judged by content alone, that it were of the other class. These are the overlap weights of
Li, Morgan and Zaslavsky (2018, doi:10.1080/01621459.2016.1260466), under which content foretells nothing any more as
far as a logistic model of it goes.

Content is what ImageNet's EfficientNet-Lite0 sees of a picture scaled down to 48 pixels: no trace of a generator
outlives that, scenes and styles do.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from torch.utils.data import DataLoader
from tqdm import tqdm

from handlers.card import Preprocessing
from handlers.preprocessing import picture_to_tensor
from training.data import Pictures, Record, balanced_weights
from training.heads import C, mean_and_spread
from training.initial_weights import NORMALISATION, build_network
from training.precision import autocast, bf16_is_fast

SMALL = 48  # pixels; what is scaled down to this keeps its content and loses its traces
SEEN_AT = 160  # pixels, scaled up again: the network is of little use far below the 224 that it was trained at
PARTS = 5  # each is judged by a model of the others
_PREPROCESSING = Preprocessing(size=SEEN_AT, crop=1.0, interpolation="bicubic", **NORMALISATION["efficientnet_lite0"])


def content_tensor(image: Image.Image) -> torch.Tensor:
    """An RGB picture of any size to (3, SEEN_AT, SEEN_AT) float32, with the detail of SMALL pixels."""
    return picture_to_tensor(image.resize((SMALL, SMALL), Image.Resampling.BILINEAR), _PREPROCESSING)


def imagenet_features(
    records: Sequence[Record], transform: Callable[[Image.Image], torch.Tensor], device: torch.device, workers: int
) -> np.ndarray:
    """(N, 1280) float32: what ImageNet's EfficientNet-Lite0 sees in the records' pictures, transformed."""
    network = build_network("efficientnet_lite0", "imagenet", 2).eval().to(device, memory_format=torch.channels_last)
    network.fc = torch.nn.Identity()
    loader = DataLoader(Pictures([(record, 0) for record in records], transform), 32, num_workers=workers)
    with torch.inference_mode(), autocast(device, bf16_is_fast(device)):
        features = [
            network(pictures.to(device, memory_format=torch.channels_last)).float().cpu()
            for pictures, _ in tqdm(loader, desc="features of ImageNet's network", mininterval=5)
        ]
    return torch.cat(features).numpy()


def chances_of_generated(
    features: np.ndarray, labels: np.ndarray, weights: np.ndarray, groups: Sequence[str]
) -> np.ndarray:
    """(N,) the probability of each picture's being generated, by its content alone.

    Each comes from a logistic regression on the other parts: near relatives, which share a group, take no part.
    features (N, channels); labels (N,) 0 real, 1 generated; weights (N,): how much each counts.
    """
    mean, spread = mean_and_spread(features)
    scaled = (features - mean) / spread
    chances = np.empty(len(labels))
    parts = StratifiedGroupKFold(PARTS, shuffle=True, random_state=0)
    for fitted, judged in parts.split(scaled, labels, groups):
        model = LogisticRegression(C=C, max_iter=1000)
        model.fit(scaled[fitted], labels[fitted], sample_weight=weights[fitted] / weights.mean())
        chances[judged] = model.predict_proba(scaled[judged])[:, 1]
    return chances


def without_content(weights: torch.Tensor, labels: np.ndarray, chances: np.ndarray, power: float) -> torch.Tensor:
    """Weights (N,), each class summing to 1, under which content tells less of the class.

    power: 0 leaves the weights, 1 makes them overlap weights; above it, contents that both classes share count more.
    """
    chance_of_other = torch.from_numpy(np.where(labels == 1, 1 - chances, chances))
    weighed = weights * chance_of_other**power
    for label in np.unique(labels):
        of_class = torch.from_numpy(labels == label)
        weighed[of_class] /= weighed[of_class].sum()
    return weighed


def weights_without_content(
    items: list[tuple[Record, int]], power: float, device: torch.device, workers: int
) -> torch.Tensor:
    """training.data.balanced_weights of the items of the task authenticity, by without_content."""
    weights, labels = balanced_weights(items), np.array([label for _, label in items])
    records = [record for record, _ in items]
    features = imagenet_features(records, content_tensor, device, workers)
    chances = chances_of_generated(features, labels, weights.numpy(), [record.group for record in records])
    return without_content(weights, labels, chances, power)
