"""The heat map of an image: the maps of its views put together in the image's own pixels, and shown."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from imagetrust.explain.cam import class_activation
from imagetrust.explain.overlay import overlay_png
from imagetrust.explain.regions import hot_regions, in_words
from imagetrust.images.views import View
from imagetrust.models.model import Model

MAX_CELLS = 64  # of a composed map's longer side


def heatmap_answer(
    model: Model,
    features: torch.Tensor,
    views: Sequence[View],
    task: str,
    class_name: str,
    method: str,
    small: Image.Image,
    full_size: tuple[int, int],
) -> dict[str, Any]:
    """Return the member `heatmap` of an answer: where the features of an image's views speak for a class.

    small: the image's thumbnail (imagetrust.explain.overlay). full_size: (width, height) of the upright image.
    """
    maps = [part.float().numpy() for part in class_activation(method, model, features, task, class_name)]
    composed, view = compose(maps, views)
    heat = scale(composed)
    regions = hot_regions(heat, view)
    return {
        "method": method,
        "model": task,
        "class": class_name,
        "rows": heat.shape[0],
        "columns": heat.shape[1],
        "values": [[round(float(value), 4) for value in row] for row in heat],
        "view": {"left": view.left, "top": view.top, "right": view.right, "bottom": view.bottom},
        "regions": regions,
        "sentence": in_words(class_name, regions, full_size),
        "overlay_png": overlay_png(heat, view, small, full_size),
    }


def scale(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a map (rows, columns) in 0..1, as the grad-cam package scales it; without evidence it is all zero."""
    shifted = heat - heat.min()
    scaled: NDArray[np.float32] = shifted / (shifted.max() + np.float32(1e-7))
    return scaled


def compose(maps: Sequence[NDArray[np.float32]], views: Sequence[View]) -> tuple[NDArray[np.float32], View]:
    """Put the maps (rows, columns) of views together: one map, and the rectangle of the image that it covers.

    Where views overlap the map is their mean; where no view lies it is zero. Its cells are as fine as the finest
    view's, at most MAX_CELLS on the longer side.
    """
    if len(views) == 1:
        return maps[0], views[0]
    covered = View(
        min(view.left for view in views),
        min(view.top for view in views),
        max(view.right for view in views),
        max(view.bottom for view in views),
    )
    width, height = covered.right - covered.left, covered.bottom - covered.top
    finest = min((view.right - view.left) / one.shape[1] for one, view in zip(maps, views, strict=True))
    cell = max(finest, max(width, height) / MAX_CELLS)
    rows, columns = max(1, round(height / cell)), max(1, round(width / cell))
    total, counts = np.zeros((rows, columns), np.float32), np.zeros((rows, columns), np.float32)
    for one, view in zip(maps, views, strict=True):
        left, right = _cells(view.left - covered.left, view.right - covered.left, columns / width)
        top, bottom = _cells(view.top - covered.top, view.bottom - covered.top, rows / height)
        total[top:bottom, left:right] += cv2.resize(one, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
        counts[top:bottom, left:right] += 1
    return np.divide(total, np.maximum(counts, 1), dtype=np.float32), covered


def _cells(begin: int, end: int, per_pixel: float) -> tuple[int, int]:
    """Return the cells from one pixel to another, at least one."""
    first = int(begin * per_pixel)
    return first, max(first + 1, round(end * per_pixel))
