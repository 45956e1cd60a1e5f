"""From when on an answer is settled: how far from changing it must be after some of an image's views."""

from collections.abc import Sequence

import torch
from tqdm import tqdm

from evaluation.predict import read_batches
from imagetrust.models.model import Model
from imagetrust.runtime.engine import Engine
from training.data import Record

BATCH = 8  # images that are read ahead
HELD = 0.99

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


def settled_margins(model: Model, task: str, rows: ViewLogits) -> tuple[float, ...]:
    """Return from which margin on an answer after one view, two and so on is left alone by the views that follow.

    By these views the calibrated log odds of any two classes move by less in HELD of the images; to change the answer
    they would have to move by the margin, and the right way. model: with its temperature.
    """
    temperature, margins = model.config.heads[task].temperature, []
    for count in range(1, max((len(row[task]) for row in rows), default=0)):
        several = [row[task] for row in rows if len(row[task]) > count]
        moved = torch.stack([logits.mean(0) - logits[:count].mean(0) for logits in several]) / temperature
        most = moved.amax(1) - moved.amin(1)
        margins.append(round(float(most.quantile(HELD)), 4))
    return tuple(margins)
