"""Releases still do what their metrics say."""

from pathlib import Path

import numpy as np
import pytest

from evaluation.metrics import classification_metrics
from evaluation.metrics_file import read_metrics
from evaluation.predict import fp32_engine, predict, probabilities_of
from imagetrust.models.config import TASKS
from imagetrust.models.model import Model
from tests.releases import CURRENT, RELEASE
from training.data import NO_LABEL, data_digest, label_of, read_artifact, split

GOLDEN = Path(__file__).resolve().parent / "golden"  # 31 images that the project carries: they measure no quality


def scored(release: Path, records) -> dict[str, dict]:
    model = Model(release)
    logits = predict(fp32_engine(model), records)
    found = {}
    for task, classes in TASKS.items():
        labels = np.array([label_of(record, task) for record in records])
        known = labels != NO_LABEL
        found[task] = classification_metrics(probabilities_of(model, task, logits[task][known]), labels[known], classes)
    return found


@pytest.mark.parametrize("release", sorted({RELEASE, CURRENT}), ids=lambda release: release.name)
def test_the_images_that_the_project_carries_are_scored_alike(release):
    """Who changes weights or preprocessing by accident sees it here, with or without a data set."""
    expected = read_metrics(release)["golden"]
    for task, found in scored(release, read_artifact(GOLDEN)).items():
        assert found["count"] == expected[task]["count"]
        for name in ("negative_log_likelihood", "expected_calibration_error"):
            assert found[name] == pytest.approx(expected[task][name], abs=1e-3), (task, name)


def test_the_metrics_of_the_test_split_can_be_repeated(artifact_mini):
    """Only on the data that they are of; one image in 1,300 may lie so near a border that a processor turns it."""
    records = read_artifact(artifact_mini)
    digest = data_digest(records, artifact_mini)
    described = [section for section in read_metrics(RELEASE).values() if "conditions" in section]
    same = [one for one in described if (one["conditions"]["digest"], one["conditions"]["split"]) == (digest, "test")]
    if not same:
        pytest.skip(f"no metrics of {RELEASE.name} are of the data at hand (digest {digest[:12]})")
    found = scored(RELEASE, split(records, same[0]["conditions"]["seed"])["test"])
    for task, expected in same[0].get("all", same[0]).items():
        if task not in TASKS:
            continue
        assert found[task]["count"] == expected["count"]
        for name in ("balanced_accuracy", "macro_f1", "expected_calibration_error", "negative_log_likelihood"):
            assert found[task][name] == pytest.approx(expected[name], abs=0.002), (task, name)
