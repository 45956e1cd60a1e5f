"""Percentiles, medians and ratios."""

import pytest

from measuring.summary import Summary, percentile, ratio, summarise


def test_a_summary_is_median_and_range():
    assert summarise([3.0, 1.0, 10.0]) == Summary(median=3.0, low=1.0, high=10.0)
    assert summarise([3.0, 1.0, 10.0]).text(1) == "3.0 (1.0 to 10.0)"


def test_a_ratio_is_taken_within_each_block():
    # The second block ran on a machine half as fast, which cancels.
    assert ratio([4.0, 8.0, 5.0], [2.0, 4.0, 2.0]) == Summary(median=2.0, low=2.0, high=2.5)
    with pytest.raises(ValueError):
        ratio([1.0, 2.0], [1.0])


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_a_percentile_is_a_value_that_was_measured(share, expected):
    assert percentile(range(100, 0, -1), share) == expected


@pytest.mark.parametrize("metric", [summarise, lambda values: percentile(values, 0.5)])
def test_nothing_measured_is_an_error(metric):
    with pytest.raises(ValueError):
        metric([])
