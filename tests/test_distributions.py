"""Each value has one bin, and a reference has as many counts as there are bins."""

import msgspec
import pytest

from imagetrust.distributions import EDGES, Reference, bin_of, counted
from imagetrust.limits import MAX_PIXELS


@pytest.mark.parametrize("distribution", EDGES)
def test_edges_rise_and_end_at_the_largest_value(distribution):
    edges = EDGES[distribution]
    assert list(edges) == sorted(set(edges))
    assert edges[-1] == {"probability": 1.0, "megapixels": MAX_PIXELS / 1e6}[distribution]


@pytest.mark.parametrize(
    ("distribution", "value", "index"),
    [
        ("probability", 0.0, 0),
        ("probability", 0.1, 0),
        ("probability", 0.100001, 1),
        ("probability", 1.0, 9),
        ("megapixels", 256 * 256 / 1e6, 0),
        ("megapixels", 1024 * 768 / 1e6, 3),
        ("megapixels", 64.0, 9),
        ("megapixels", 65.0, 9),
    ],
)
def test_an_edge_belongs_to_its_bin(distribution, value, index):
    assert bin_of(distribution, value) == index


def test_counts_are_of_all_values():
    assert counted("probability", [0.05, 0.05, 0.95, 0.5]) == (2, 0, 0, 0, 1, 0, 0, 0, 0, 1)


@pytest.mark.parametrize("counts", [{"probability": [1] * 9}, {"megapixels": [2] * 10}, {"megapixels": [1] * 11}])
def test_a_reference_that_does_not_fit_is_refused(counts):
    right = {name: [1] * len(edges) for name, edges in EDGES.items()}
    assert msgspec.convert(right, Reference).probability == (1,) * 10
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(right | counts, Reference)
