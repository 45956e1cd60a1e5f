"""What is sent when."""

import random
from itertools import pairwise

import pytest

from loadtests.scenarios import SCENARIOS, arrivals, ordinary_stages, overload, stages_of


def test_stages_follow_each_other():
    stages = stages_of((10, 0.5), (5, 1.5), (10, 0.2))
    assert [(stage.start, stage.end) for stage in stages] == [(0, 10), (10, 15), (15, 25)]
    assert overload(stages) == (10, 15)
    assert ordinary_stages(stages) == [stages[0]], "what follows an overload is recovery"


@pytest.mark.parametrize("name", ["steady", "soak", "constant"])
def test_steady_stays_at_seventy_percent(name):
    (stage,) = SCENARIOS[name][0](2)
    assert (stage.start, stage.end, stage.load) == (0, 120, 0.7)
    assert overload([stage]) is None and ordinary_stages([stage]) == [stage]


def test_a_spike_is_ten_times_the_load_for_half_a_minute():
    before, during, after = stages = SCENARIOS["spike"][0](1)
    assert during.load == pytest.approx(10 * before.load) and before.load == after.load
    assert overload(stages) == (60, 90)


def test_a_ramp_climbs_beyond_the_throughput_and_comes_back():
    *climb, after = SCENARIOS["ramp"][0](4)
    loads = [stage.load for stage in climb]
    assert loads == sorted(loads) and loads[0] < 0.7 < 1 < loads[-1]
    assert climb[-1].end == pytest.approx(240) and after.load < 0.7
    assert max(stage.load for stage in ordinary_stages([*climb, after])) == 0.7, "0.9 is not to be carried for good"


def test_a_constant_rate_has_equal_gaps():
    seconds = list(arrivals(stages_of((10, 0.5), (10, 2)), 8, constant=True))
    assert seconds[:3] == [0.25, 0.5, 0.75] and sum(second < 10 for second in seconds) == 39
    assert {later - earlier for earlier, later in pairwise(seconds[39:])} == {1 / 16} and seconds[-1] == 20 - 1 / 16


def test_poisson_arrivals_have_exponential_gaps():
    random.seed(0)
    seconds = list(arrivals(stages_of((1000, 1)), 20, constant=False))
    gaps = [later - earlier for earlier, later in pairwise(seconds)]
    assert len(seconds) == pytest.approx(20_000, abs=5 * 20_000**0.5)
    # Of exponential gaps a share of 1/e is longer than their mean.
    assert sum(gap > 1 / 20 for gap in gaps) / len(gaps) == pytest.approx(0.368, abs=0.02)
