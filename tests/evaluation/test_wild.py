import numpy as np
import pytest

from evaluation.wild import HALVES, read_wild, saved_kinds, wild_half, wild_metrics
from tests.evaluation.wild_set import make_wild_set
from training.data import Record, label_of


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_wild_set(tmp_path_factory.mktemp("wild") / "set")


def of_source(source: str) -> Record:
    return Record(None, source, "real", "real", "mixed", source)


def test_a_half_never_changes():
    """Written down: what has once taken part in a choice must never reach the report."""
    assert [wild_half(of_source(name)) for name in ("a", "b", "c", "real_0")] == [
        "reported", "choosing", "choosing", wild_half(of_source("real_0")),
    ]  # fmt: skip


def test_a_source_lies_in_one_half(root):
    halves = {}
    for record in read_wild(root):
        halves.setdefault(record.source, set()).add(wild_half(record))
    assert all(len(found) == 1 for found in halves.values())
    assert set.union(*halves.values()) == set(HALVES)


def test_saved_kinds_are_without_their_settings(root):
    assert set(saved_kinds(root).values()) == {"original", "jpeg"}


def test_metrics_of_a_perfect_model_but_for_drawings(engine, root):
    records = read_wild(root)
    labels = np.array([label_of(record, "authenticity") for record in records])
    predicted = np.where([record.category == "drawing" for record in records], 1 - labels, labels)
    logits = {"authenticity": np.eye(2, dtype=np.float32)[predicted] * 9}
    found = wild_metrics(engine.model, records, logits, saved_kinds(root))
    assert found["all"]["authenticity"]["accuracy"]["value"] == pytest.approx(2 / 3)
    assert found["all"]["authenticity"]["verdicts"]["false_positive_rate"]["value"] == pytest.approx(1 / 3)
    assert sum(found[half]["authenticity"]["count"] for half in HALVES) == len(records)
    kinds = found["by_kind"]["category"]
    assert kinds["photo"]["real"]["value"] == kinds["photo"]["generated"]["value"] == 1
    assert kinds["drawing"]["real"]["value"] == kinds["drawing"]["generated"]["value"] == 0
