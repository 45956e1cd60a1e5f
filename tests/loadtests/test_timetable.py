"""What is sent when."""

import pytest

from loadtests.timetable import SCENARIOS, Stage, is_ordinary, load_at, overload, ramp, spike, starts, steady


def test_loads_follow_the_stages():
    stages = (Stage(10, 0.5), Stage(5, 1.5), Stage(10, 0.2))
    assert starts(stages) == [0, 10, 15]
    assert [load_at(stages, second) for second in (0, 9.9, 10, 14.9, 15, 24.9)] == [0.5, 0.5, 1.5, 1.5, 0.2, 0.2]
    assert load_at(stages, 25) is None
    assert overload(stages) == (10, 15)
    assert [is_ordinary(stages, second) for second in (5, 12, 20, 30)] == [True, False, False, False]


@pytest.mark.parametrize("name", ["steady", "soak"])
def test_steady_stays_at_seventy_percent(name):
    stages = SCENARIOS[name].stages(2)
    assert {load_at(stages, second) for second in range(120)} == {0.7}
    assert load_at(stages, 120) is None and overload(stages) is None


def test_a_spike_is_ten_times_the_load_for_half_a_minute():
    before, during, after = spike(1)
    assert during.load == pytest.approx(10 * before.load) and during.seconds == 30 and before.load == after.load
    assert overload((before, during, after)) == (60, 90)


def test_a_ramp_climbs_beyond_capacity_and_comes_back():
    *climb, after = ramp(4)
    loads = [stage.load for stage in climb]
    assert loads == sorted(loads) and loads[0] < 0.7 < 1 < loads[-1]
    assert sum(stage.seconds for stage in climb) == pytest.approx(240) and after.load < 0.7


def test_only_ordinary_load_is_held_to_the_budget():
    assert is_ordinary(steady(1), 30)
    near_capacity = Stage(10, 0.9)
    assert not is_ordinary((near_capacity,), 5)
