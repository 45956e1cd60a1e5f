"""How answers and images are spread, in few bins: what a model was measured on, to compare a day's images with."""

from bisect import bisect_left
from collections.abc import Iterable

import msgspec

# The upper edges of the bins, each in its bin: of the calibrated probability of being generated, and of the image's
# width x height in millions, up to the limit on pixels. The first size bin ends at 256 x 256.
EDGES = {
    "probability": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    "megapixels": (0.065536, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0),
}


def bin_of(distribution: str, value: float) -> int:
    """Return the index of a value's bin; what lies beyond the last edge is in the last bin."""
    edges = EDGES[distribution]
    return min(bisect_left(edges, value), len(edges) - 1)


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many images of a set lie in each bin of EDGES: the probability that the model gives them, and their size."""

    probability: tuple[int, ...]
    megapixels: tuple[int, ...]

    def __post_init__(self) -> None:
        """Raise ValueError where there are not as many counts as bins, or the two counts differ."""
        for name, edges in EDGES.items():
            if len(getattr(self, name)) != len(edges):
                raise ValueError(f"{name} must have {len(edges)} counts")
        if sum(self.probability) != sum(self.megapixels):
            raise ValueError("both distributions must be of the same images")


def counted(distribution: str, values: Iterable[float]) -> tuple[int, ...]:
    """Return how many of the values lie in each bin."""
    counts = [0] * len(EDGES[distribution])
    for value in values:
        counts[bin_of(distribution, value)] += 1
    return tuple(counts)
