"""Metrics of held-out groups by hand: what is said of unknown sources counts the left-out images alone."""

import numpy as np
import pytest

from evaluation.held_out import HeldOutGroup, score_group, score_groups
from imagetrust.models.config import Thresholds

THRESHOLDS = Thresholds(real=0.2, generated=0.8)


def generators(*probabilities: float) -> HeldOutGroup:
    """Left-out generated images with these probabilities, beside four real ones that are all right and confident."""
    count = len(probabilities)
    return HeldOutGroup(
        reason="made",
        generated=np.array([*probabilities, 0.01, 0.01, 0.01, 0.01]),
        labels=np.array([1] * count + [0] * 4),
        left_out=np.array([True] * count + [False] * 4),
        thresholds=THRESHOLDS,
    )


def test_a_group_by_hand():
    row = score_group(generators(0.05, 0.4, 0.9, 0.7))
    assert row["left_out_class"] == "generated"
    assert row["recall"]["value"] == 0.5 and row["recall"]["count"] == 4
    assert row["other_class_recall"]["value"] == 1
    assert row["balanced_accuracy"] == 0.75
    assert row["roc_auc"] == 1
    left_out = row["left_out"]
    assert left_out["confident_errors"]["value"] == 0.25 and left_out["confident_errors"]["count"] == 4
    assert left_out["coverage"]["value"] == 0.5
    assert left_out["selective_risk"]["value"] == 0.5
    assert left_out["wrong_verdicts"]["value"] == 0.25


def test_known_images_take_no_part_in_calibration():
    assert score_group(generators(0.95, 0.95))["left_out"]["expected_calibration_error"] == pytest.approx(0.05)


def test_groups_together():
    real = HeldOutGroup("real", np.array([0.9, 0.1, 0.9]), np.array([0, 0, 1]), np.array([1, 1, 0], bool), THRESHOLDS)
    section = score_groups({"easy": generators(0.9, 0.9), "hard": generators(0.1, 0.9), "photos": real})
    assert section["generators"]["mean_recall"] == 0.75
    assert section["generators"]["worst_group"] == "hard"
    assert section["generators"]["left_out"]["coverage"]["count"] == 4
    assert section["real_sources"]["left_out"]["wrong_verdicts"]["value"] == 0.5


def test_random_folds_together():
    """Of five real images one is called generated, of four generated ones half: by two sources of each class."""
    real = HeldOutGroup(
        "real", np.array([0.9, 0.1, 0.1, 0.1, 0.1]), np.zeros(5, int), np.ones(5, bool), THRESHOLDS,
        np.array(["a", "a", "b", "b", "b"]),
    )  # fmt: skip
    made = HeldOutGroup(
        "made", np.array([0.9, 0.6, 0.1, 0.1, 0.1]), np.array([1, 1, 1, 1, 0]), np.array([1, 1, 1, 1, 0], bool),
        THRESHOLDS, np.array(["c", "c", "d", "d", "known"]),
    )  # fmt: skip
    section = score_groups({"real": real, "made": made})
    assert "generators" not in section and "real_sources" not in section
    folds = section["folds"]
    assert (folds["count"], folds["sources"]) == (9, 4)
    assert folds["balanced_accuracy"] == pytest.approx((4 / 5 + 2 / 4) / 2)
    assert folds["recall"]["value"] == 0.5 and folds["false_positives"]["value"] == 0.2
    assert folds["called_generated"]["value"] == 0.25 and folds["real_called_generated"]["value"] == 0.2
    low, high = folds["balanced_accuracy_interval_95"]
    assert low < folds["balanced_accuracy"] < high
    assert folds["left_out"]["coverage"]["value"] == pytest.approx(8 / 9)


def test_partly_real_images_count_apart():
    """A restored photograph that is called generated, and one that is not, change no figure of the others."""
    real = HeldOutGroup("real", np.full(4, 0.1), np.zeros(4, int), np.ones(4, bool), THRESHOLDS, np.array(["a"] * 4))
    made = HeldOutGroup(
        "made", np.array([0.9, 0.9, 0.9, 0.2]), np.ones(4, int), np.ones(4, bool), THRESHOLDS,
        np.array(["gan_mine", "gan_mine", "gan_gfpgan_a", "gan_gfpgan_a"]),
    )  # fmt: skip
    folds = score_groups({"real": real, "made": made})["folds"]
    assert folds["count"] == 6 and folds["balanced_accuracy"] == 1
    assert (folds["partly_real"]["value"], folds["partly_real"]["count"]) == (0.5, 2)


def test_a_group_of_both_classes_is_refused():
    with pytest.raises(ValueError, match="one class"):
        HeldOutGroup("mixed", np.array([0.1, 0.9]), np.array([0, 1]), np.array([True, True]), THRESHOLDS)
