"""Robustness is that of the predictions, whatever gives them."""

import numpy as np
import pytest

from evaluation import robustness
from evaluation.corruptions import COPIES, DEGRADATIONS
from evaluation.robustness import degraded_metrics, stability_metrics
from training.data import label_of


@pytest.fixture
def perfect_until(monkeypatch, records):
    """Make predictions perfect but after one corruption, which turns them all round."""
    labels = np.array([label_of(record, "authenticity") for record in records])

    def use(broken) -> None:
        def predictions(engine, scored, corruption, workers):
            return np.where(labels == 1, 0.9, 0.1) if corruption is not broken else np.where(labels == 1, 0.1, 0.9)

        monkeypatch.setattr(robustness, "generated_probability", predictions)

    return use


def test_a_degradation_that_turns_predictions_round(engine, records, perfect_until):
    perfect_until(DEGRADATIONS["hard"])
    rows = degraded_metrics(engine, records)["corruptions"]
    assert {name: row["balanced_accuracy"] for name, row in rows.items()} == {
        "clean": 1, "web": 1, "hard": 0, "screenshot": 1,
    }  # fmt: skip
    assert rows["hard"]["verdicts"]["false_positive_rate"]["value"] == 1


def test_a_copy_that_flips_verdicts(engine, records, perfect_until):
    perfect_until(COPIES["WebP 80"])
    rows = stability_metrics(engine, records)["copies"]
    assert {name for name, row in rows.items() if row["flips"]["value"] == 1} == {"WebP 80"}
    assert all(row["changes"]["value"] == 0 for name, row in rows.items() if name != "WebP 80")


def test_a_change_to_uncertain_is_no_flip(engine, records, monkeypatch):
    def predictions(engine, scored, corruption, workers):
        return np.full(len(scored), 0.9 if corruption is DEGRADATIONS["clean"] else 0.5)

    monkeypatch.setattr(robustness, "generated_probability", predictions)
    row = stability_metrics(engine, records)["copies"]["JPEG 70"]
    assert row["flips"]["value"] == 0 and row["changes"]["value"] == 1
