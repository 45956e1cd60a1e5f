"""The arithmetic behind the tables."""

import pytest

from benchmarks.figures import Summary, knee, percentile, ratios, summarise
from benchmarks.gpu import read_samples
from benchmarks.load import spread_over
from benchmarks.reaches import REACHES, Reach, reached


def test_a_summary_is_median_and_range():
    assert summarise([3.0, 1.0, 10.0]) == Summary(median=3.0, low=1.0, high=10.0)


def test_a_ratio_is_taken_within_each_block():
    # The second block ran on a machine half as fast: the ratio does not see it.
    assert ratios([4.0, 8.0, 5.0], [2.0, 4.0, 2.0]) == Summary(median=2.0, low=2.0, high=2.5)


def test_blocks_must_pair():
    with pytest.raises(ValueError):
        ratios([1.0, 2.0], [1.0])


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_a_percentile_is_a_value_that_was_measured(share, expected):
    assert percentile(list(range(100, 0, -1)), share) == expected


@pytest.mark.parametrize("figure", [summarise, lambda values: percentile(values, 0.5)])
def test_nothing_measured_is_an_error(figure):
    with pytest.raises(ValueError):
        figure([])


def test_the_knee_is_where_throughput_stops_growing():
    assert knee({1: 10.0, 2: 19.0, 4: 30.0, 8: 31.0, 16: 31.5}) == 4
    assert knee({1: 10.0}) == 1


@pytest.mark.parametrize(("count", "parts", "expected"), [(7, 3, [3, 2, 2]), (1, 2, [1, 0]), (8, 2, [4, 4])])
def test_requests_are_spread_over_the_workers(count, parts, expected):
    assert spread_over(count, parts) == expected


def test_the_cheapest_of_several_others_counts():
    reach = Reach("theirs / ours", "small", "ours", ("one", "two"), 1.0)
    costs = {"small": {"ours": [10.0, 10.0], "one": [30.0, 50.0], "two": [20.0, 20.0]}}
    assert reached(reach, costs).median == 2.0


def test_a_reach_that_was_not_measured_is_left_out():
    assert reached(REACHES[0], {}) is None
    assert reached(REACHES[0], {REACHES[0].size: {REACHES[0].measured: [1.0]}}) is None


def test_the_share_of_a_gpu_is_the_mean_of_the_samples():
    assert read_samples("50, 1000\n100, 3000\n") == (0.75, 3000)
    with pytest.raises(ValueError):
        read_samples("")
