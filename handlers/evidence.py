"""The member `heatmap` of an answer: a map, its overlay, its regions and a sentence."""

from typing import Any

import torch

from handlers.classifier import Classifier
from handlers.heatmap import heat
from handlers.overlay import Frame, overlay_png
from handlers.regions import hot_regions, in_words


def heatmap_answer(
    classifier: Classifier, features: torch.Tensor, frame: Frame, class_name: str, method: str
) -> dict[str, Any]:
    """Where a classifier's features (channels, rows, columns) of one picture speak for one of its classes."""
    drawn = heat(method, features, classifier.head, classifier.card.classes.index(class_name))
    regions = hot_regions(drawn, frame.view)
    return {
        "method": method,
        "model": classifier.card.name,
        "class": class_name,
        "rows": drawn.shape[0],
        "columns": drawn.shape[1],
        "values": [[round(float(value), 4) for value in row] for row in drawn],
        "view": vars(frame.view),
        "regions": regions,
        "sentence": in_words(class_name, regions, frame.full_size),
        "overlay_png": overlay_png(drawn, frame),
    }
