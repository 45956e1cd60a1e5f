"""Parts of the training data are what they are called, and a head sees nothing but its part."""

import random
from pathlib import Path

import numpy as np
import pytest

from tests.training.test_protocols import world
from training.data import Record, labelled
from training.learning_curve import WAYS, score_head


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_a_part_is_of_that_share_and_holds_both_classes(way, share):
    part = WAYS[way](world(), share, random.Random(0))
    assert len(set(part)) == len(part) == pytest.approx(share * len(world()), rel=0.5)
    assert len({record.family == "real" for record in part}) == 2
    assert (set(part) == set(world())) == (share == 1)


def test_fewer_sources_come_whole():
    part = WAYS["more sources"](world(), 0.3, random.Random(0))
    kept = {record.source for record in part}
    assert len(part) == sum(record.source in kept for record in world())
    assert len(kept) < len({record.source for record in world()}) / 2


def test_a_head_finds_what_its_features_tell():
    rng = np.random.default_rng(0)
    records = [
        Record(Path(str(number)), "some", family, family, "mixed", str(number))
        for number, family in enumerate(("real", "gan") * 100)
    ]
    told = {record.path: rng.normal(number % 2 * 4, 1, 50) for number, record in enumerate(records)}
    untold = {record.path: rng.normal(0, 1, 50) for record in records}
    parts = {"held out": labelled(records[100:], "authenticity")}
    assert score_head(told, records[:100], parts)["held out"] > 0.95
    assert 0.3 < score_head(untold, records[:100], parts)["held out"] < 0.7
