"""The views of an image: the squares of it that the network sees. Training and serving both take them from here."""

import math
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

_GAP = 1.5  # by how much at least the resize shrinks what a JPEG's own scaling has left (docs/decisions)
CENTRE = (0.5, 0.5)


class View(msgspec.Struct, frozen=True):
    """A square of an upright image, in the image's own pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]


class ViewRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Square views of one scale at fixed places of every image that is large enough.

    Exactly one of the first two is given.

    fraction: the side as a fraction of the image's shorter side; the view is resized to the input size.
    zoom: image pixels for one input pixel, 1 for a native crop; an image whose shorter side is below zoom times the
        input size has no such views.
    places: where the views lie, as fractions (across, down) of the room that the square leaves.
    """

    fraction: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    zoom: Annotated[float, msgspec.Meta(gt=0)] | None = None
    places: tuple[tuple[Fraction, Fraction], ...] = (CENTRE,)

    def __post_init__(self) -> None:
        """Raise ValueError for a rule that describes no square."""
        if (self.fraction is None) == (self.zoom is None):
            raise ValueError("a view rule has either a fraction or a zoom")
        if not self.places:
            raise ValueError("a view rule needs a place")

    def side(self, shorter: int, size: int) -> int | None:
        """Return the side of the views, in image pixels; None where the image is too small for them."""
        if self.fraction is not None:
            return max(1, round(shorter * self.fraction))
        assert self.zoom is not None
        side = round(self.zoom * size)
        return side if side <= shorter else None


class Preprocessing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an upright RGB image becomes the network's inputs.

    size: side of the square input, in pixels.
    interpolation: a name of PIL.Image.Resampling, in lower case.
    mean, std: per channel (R, G, B), on pixel values scaled to 0..1.
    views: the first rule has a fraction, so that every image has a view.
    """

    size: Annotated[int, msgspec.Meta(gt=0)]
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    views: tuple[ViewRule, ...]

    def __post_init__(self) -> None:
        """Raise ValueError where some image would have no view, or the interpolation is unknown."""
        if not self.views or self.views[0].fraction is None:
            raise ValueError("the first view rule must have a fraction")
        if self.interpolation.upper() not in Image.Resampling.__members__:
            raise ValueError(f"unknown interpolation {self.interpolation!r}")

    def min_side(self) -> int | None:
        """Return the shorter side, in pixels, below which decoding must not scale an image down; None: at all."""
        if any(rule.zoom is not None for rule in self.views):
            return None
        return max(math.ceil(_GAP * self.size / rule.fraction) for rule in self.views if rule.fraction is not None)

    def views_of(self, width: int, height: int) -> list[View]:
        """Return the views of an image of this size, in the order of the rules; at least one."""
        views = []
        for rule in self.views:
            side = rule.side(min(width, height), self.size)
            if side is None:
                continue
            for across, down in rule.places:
                left, top = int(across * (width - side)), int(down * (height - side))
                views.append(View(left, top, left + side, top + side))
        return views

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return what the network sees of an RGB image of any size: (views, size, size, 3) uint8."""
        resample = Image.Resampling[self.interpolation.upper()]
        return np.stack(
            [
                np.asarray(
                    image.resize((self.size, self.size), resample, (view.left, view.top, view.right, view.bottom))
                )
                for view in self.views_of(*image.size)
            ]
        )
