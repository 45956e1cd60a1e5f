"""From when on an answer is settled: how far from changing it must be after some of an image's views."""

from collections.abc import Sequence

import torch
from tqdm import tqdm

from evaluation.predict import read_batches
from imagetrust.models.model import Model
from imagetrust.runtime.engine import Engine
from training.data import Record
from training.quantise import find_margin

BATCH = 8  # images that are read ahead

ViewLogits = list[dict[str, torch.Tensor]]  # of each image, by task: (views, classes), not calibrated


def view_logits(engine: Engine, records: Sequence[Record], workers: int = 0) -> ViewLogits:
    """Return the logits of every view of each image. Raises DataError for an image that cannot be decoded."""
    tasks = tuple(engine.model.config.heads)
    rows = []
    with tqdm(total=len(records), desc="views", unit="image", mininterval=5) as progress:
        for images in read_batches(engine.model.config.preprocessing, records, None, BATCH, workers):
            for views in images:
                scores = engine.score([view[None] for view in views], tasks)
                rows.append({task: torch.stack([one.logits[task] for one in scores]) for task in tasks})
            progress.update(len(images))
    return rows


def settled_margin(model: Model, task: str, rows: ViewLogits) -> float | None:
    """Return the smallest margin beyond which answers of an image's first views are, but for few, those of all views.

    Few are training.quantise.MAX_CHANGED of the images that have more. model: with temperature and thresholds. None
    where no image has several views.
    """
    margins = []
    for count in range(1, max((len(row[task]) for row in rows), default=0)):
        several = [row[task] for row in rows if len(row[task]) > count]
        first = torch.stack([logits[:count].mean(0) for logits in several])
        margins.append(find_margin(model, task, torch.stack([logits.mean(0) for logits in several]), first))
    return max(margins, default=None)
