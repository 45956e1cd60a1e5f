import pytest

from evaluation.attacks import evasion, gradient_attack
from evaluation.corruptions import EVASION


def test_gradient_descent_flips_predictions(engine, records):
    """A broken attack would leave the predictions as they were."""
    rows = gradient_attack(engine.model, records[::4], epsilons=(8,))
    assert list(rows) == ["0", "8"]
    assert rows["8"]["accuracy"]["value"] < max(0.5, rows["0"]["accuracy"]["value"])
    assert all(row["accuracy"]["count"] == len(records[::4]) for row in rows.values())


def test_the_model_is_not_changed_by_an_attack(engine, records):
    before = engine.model.heads["authenticity"].weight.clone()
    gradient_attack(engine.model, records[:2], epsilons=(1,))
    assert (engine.model.heads["authenticity"].weight == before).all()


def test_evasion_scores_both_classes_after_each_processing(engine, records):
    rows = evasion(engine, records[::5])
    assert set(rows) == set(EVASION)
    real = sum(record.family == "real" for record in records[::5])
    assert all(row["real"]["count"] == real for row in rows.values())
    assert rows["none"]["real"]["value"] + rows["none"]["generated"]["value"] == pytest.approx(1, abs=1)
