"""Whether heat maps mean something: deletion, insertion and pointing, beside two maps that know nothing.

Deletion and insertion (Petsiuk et al. 2018, arXiv 1806.07421): cells of the image are blurred away, or put back into
the blurred image, hottest first; the mean of the class's probability over the steps tells how much the map found.
Pointing: a generated patch is pasted into a real image, or the reverse; does the hottest place lie in the patch?
A map that does not beat the controls says nothing about the model.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from tqdm import tqdm

from evaluation.metrics import rate
from evaluation.predict import probabilities_of, read_views
from imagetrust.explain.cam import METHODS, class_activation
from imagetrust.runtime.engine import Engine
from training.data import Record, label_of

TASK = "authenticity"
CONTROLS = ("random", "centre")
_PATCH = 0.4  # of each side: a sixth of the view
_STEPS = 12  # points of a curve

Pixels = NDArray[np.uint8]
Map = NDArray[np.float32]
Probability = Callable[[list[Pixels]], NDArray[np.floating[Any]]]  # from N views (size, size, 3) to (N,)


def control_map(name: str, shape: tuple[int, int], rng: np.random.Generator) -> Map:
    """Return a map (rows, columns) that knows nothing of the image: "random", or hottest in the "centre"."""
    if name == "random":
        return rng.random(shape, dtype=np.float32)
    rows, columns = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    heat: Map = np.exp(-(rows**2 + columns**2)).astype(np.float32)
    return heat


def deletion_insertion(probability: Probability, pixels: Pixels, heat: Map) -> tuple[float, float]:
    """Return the mean probability of a class while cells are deleted, and while they are inserted, hottest first.

    probability: of the class. pixels: one view. heat: (rows, columns) over it.
    """
    size = len(pixels)
    blurred = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(size / 16)))
    cells = Image.fromarray(np.arange(heat.size, dtype=np.int32).reshape(heat.shape))
    cell_of = np.asarray(cells.resize((size, size), Image.Resampling.NEAREST))
    rank = np.empty(heat.size, int)
    rank[np.argsort(-heat.ravel(), kind="stable")] = np.arange(heat.size)
    hottest_first = rank[cell_of][:, :, None]
    counts = np.linspace(0, heat.size, _STEPS)
    deleted = [np.where(hottest_first < count, blurred, pixels) for count in counts]
    inserted = [np.where(hottest_first < count, pixels, blurred) for count in counts]
    curve = probability(deleted + inserted)
    return float(curve[:_STEPS].mean()), float(curve[_STEPS:].mean())


def composite(base: Pixels, patch: Pixels, rng: random.Random) -> tuple[Pixels, tuple[int, int, int]]:
    """Return `base` with a square of `patch` from the same place, and (left, top, side) of it, in pixels."""
    side = round(len(base) * _PATCH)
    left, top = rng.randint(0, len(base) - side), rng.randint(0, len(base) - side)
    made = base.copy()
    made[top : top + side, left : left + side] = patch[top : top + side, left : left + side]
    return made, (left, top, side)


def points_into(heat: Map, box: tuple[int, int, int], size: int) -> bool:
    """Return whether the centre of the map's hottest cell lies in the box (left, top, side) of a view of this size."""
    left, top, side = box
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    y, x = (row + 0.5) * size / heat.shape[0], (column + 0.5) * size / heat.shape[1]
    return bool(left <= x < left + side and top <= y < top + side)


class _Explained:
    """A model on single views: class probabilities, and maps by method or control."""

    def __init__(self, engine: Engine, seed: int) -> None:
        self.engine, self.model = engine, engine.model
        self.classes = self.model.config.heads[TASK].classes
        self.rng = np.random.default_rng(seed)

    def probabilities(self, views: list[Pixels]) -> NDArray[np.float32]:
        """Return the calibrated probabilities (N, classes) of N views (size, size, 3)."""
        scores = self.engine.score([view[None] for view in views], (TASK,))
        logits = torch.stack([one.logits[TASK] for one in scores])
        return probabilities_of(self.model, TASK, logits.cpu().numpy())

    def probability_of(self, class_index: int) -> Probability:
        """Return what gives the probability (N,) of one class."""
        return lambda views: self.probabilities(views)[:, class_index]

    def maps(self, view: Pixels, class_index: int) -> dict[str, Map]:
        """Return the map (rows, columns) of the class for a view, by method and by control."""
        (scores,) = self.engine.score([view[None]], (TASK,))
        class_name = self.classes[class_index]
        maps = {
            name: class_activation(name, self.model, scores.features, TASK, class_name)[0].float().numpy()
            for name in METHODS
        }
        shape = next(iter(maps.values())).shape
        return maps | {name: control_map(name, shape, self.rng) for name in CONTROLS}


def map_metrics(engine: Engine, records: Sequence[Record], count: int, seed: int) -> dict[str, dict[str, Any]]:
    """Return the metrics of each method and control: over `count` images, and as many composites of each kind.

    records: of both classes. The first view of each image is explained.
    """
    explained, rng = _Explained(engine, seed), random.Random(seed)
    names = (*METHODS, *CONTROLS)

    def view(record: Record) -> Pixels:
        first: Pixels = read_views(record, engine.model.config.preprocessing)[0]
        return first

    areas: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for record in tqdm(rng.sample(list(records), min(count, len(records))), desc="deletion, insertion", mininterval=5):
        pixels = view(record)
        index = int(explained.probabilities([pixels])[0].argmax())
        for name, heat in explained.maps(pixels, index).items():
            areas[name].append(deletion_insertion(explained.probability_of(index), pixels, heat))

    by_label = [[record for record in records if label_of(record, TASK) == label] for label in (0, 1)]
    hits = {class_name: dict.fromkeys(names, 0) for class_name in explained.classes}
    for index, class_name in enumerate(explained.classes):
        for _ in tqdm(range(count), desc=f"pointing at a {class_name} patch", mininterval=5):
            base, patch = view(rng.choice(by_label[1 - index])), view(rng.choice(by_label[index]))
            made, box = composite(base, patch, rng)
            for name, heat in explained.maps(made, index).items():
                hits[class_name][name] += points_into(heat, box, len(made))
    return {
        name: {
            "deletion": float(np.mean([deletion for deletion, _ in areas[name]])),
            "insertion": float(np.mean([insertion for _, insertion in areas[name]])),
            "pointing": {class_name: rate(hits[class_name][name], count) for class_name in explained.classes},
        }
        for name in names
    }
