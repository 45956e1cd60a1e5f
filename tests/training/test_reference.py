"""A release's reference is counted from the predictions that its report left, and images' headers."""

import csv
import shutil
from pathlib import Path

import pytest

from imagetrust.distributions import bin_of
from imagetrust.models.config import ModelConfig
from tests.releases import MODEL_STORE
from training.data import DataError, read_artifact
from training.reference import PREDICTIONS, add_reference


@pytest.fixture
def release(tmp_path) -> Path:
    return shutil.copytree(MODEL_STORE / "0.3", tmp_path / "release")


@pytest.fixture
def predictions(tmp_path) -> Path:
    return tmp_path


def write(path: Path, rows: list[tuple[str, str, float]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("source", "file", "label", "real", "generated"))
        writer.writerows((source, name, "real", f"{1 - value:.5f}", f"{value:.5f}") for source, name, value in rows)


def test_the_reference_is_that_of_the_predicted_images(release, predictions, data_root):
    records = read_artifact(data_root)[:40]
    values = [index / 40 for index in range(40)]
    rows = [(record.source, record.path.name, value) for record, value in zip(records, values, strict=True)]
    write(predictions / PREDICTIONS["test"], rows)
    before = ModelConfig.read(release)
    reference = add_reference(release, predictions, data_root, None)
    config = ModelConfig.read(release)
    assert config.reference == reference and set(reference) == {"test"}
    assert config.weights_sha256 == before.weights_sha256 and config.heads == before.heads
    assert reference["test"].probability == tuple(
        sum(bin_of("probability", value) == index for value in values) for index in range(10)
    )
    assert sum(reference["test"].megapixels) == 40 == reference["test"].megapixels[0]


def test_without_predictions_or_their_images_the_description_stays(release, predictions, data_root):
    before = (release / "config.json").read_bytes()
    with pytest.raises(DataError, match=r"evaluation\.report"):
        add_reference(release, predictions, data_root, None)
    write(predictions / PREDICTIONS["test"], [("camera_a", "nowhere.jpg", 0.5)])
    with pytest.raises(DataError, match="not in the data set"):
        add_reference(release, predictions, data_root, None)
    assert (release / "config.json").read_bytes() == before


def test_the_served_release_has_a_reference_of_whole_images():
    reference = ModelConfig.read(MODEL_STORE / "1.0").reference
    assert set(reference) == {"test", "wild"}
    assert sum(reference["wild"].probability) == 400 and sum(reference["test"].probability) == 1436
