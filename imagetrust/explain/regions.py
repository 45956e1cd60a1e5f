"""A heat map in numbers and words: the hot regions as boxes, and a sentence for a person."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imagetrust.images.views import View

HOT = 0.5  # of the map's maximum: what counts as a region
MAX_REGIONS = 8
_FINE = 8  # each cell of the map is drawn this many times as wide, so that regions have rounder borders


def hot_regions(heat: NDArray[np.float32], view: View) -> list[dict[str, Any]]:
    """Return connected regions above HOT, those of most heat times area first, at most MAX_REGIONS.

    heat: (rows, columns) in 0..1 over `view`. Each region has its box in pixels of the upright image (right and
    bottom exclusive), its mean heat, and its share of the view's area.
    """
    rows, columns = heat.shape
    fine = cv2.resize(heat, (columns * _FINE, rows * _FINE), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    count, labels, stats, _ = cv2.connectedComponentsWithStats((fine >= HOT).astype(np.uint8), connectivity=8)
    across, down = (view.right - view.left) / fine.shape[1], (view.bottom - view.top) / fine.shape[0]
    regions = []
    for number in range(1, count):
        left, top, width, height, area = (int(value) for value in stats[number])
        regions.append(
            {
                "left": view.left + int(left * across),
                "top": view.top + int(top * down),
                "right": min(view.right, view.left + int(np.ceil((left + width) * across))),
                "bottom": min(view.bottom, view.top + int(np.ceil((top + height) * down))),
                "heat": round(float(fine[labels == number].mean()), 4),
                "share": round(area / fine.size, 4),
            }
        )
    return sorted(regions, key=lambda region: -region["heat"] * region["share"])[:MAX_REGIONS]


def in_words(class_name: str, regions: list[dict[str, Any]], size: tuple[int, int]) -> str:
    """Say in one sentence where the evidence for the class lies, and that it is no proof. size: (width, height)."""
    if not regions:
        return f"No part of the picture speaks for {class_name!r}."
    share = sum(region["share"] for region in regions)
    if share > 0.6:
        return f"The evidence for {class_name!r} is spread over the picture; no part of it stands out."
    places = list(dict.fromkeys(_place(region, size) for region in regions[:2]))
    return (
        f"What speaks most for {class_name!r} lies {' and '.join(places)}, on {share:.0%} of what the model looked at. "
        f"This shows where the model looked, not that these parts were changed."
    )


def _place(region: dict[str, Any], size: tuple[int, int]) -> str:
    """Say where a region's middle lies, on a grid of three by three."""
    column = min(2, int(3 * (region["left"] + region["right"]) / 2 / size[0]))
    row = min(2, int(3 * (region["top"] + region["bottom"]) / 2 / size[1]))
    if (row, column) == (1, 1):
        return "in the middle"
    vertical, horizontal = ("at the top", "", "at the bottom")[row], ("left", "", "right")[column]
    if not horizontal:
        return vertical
    return f"{vertical} {horizontal}" if vertical else f"on the {horizontal}"
