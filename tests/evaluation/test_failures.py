import numpy as np
import pytest
from PIL import Image

from evaluation.failures import contact_sheet, failure_metrics, most_confident_errors
from training.data import Record


def record(source: str, family: str, category: str = "mixed") -> Record:
    return Record(None, source, family, source, category, source)


def test_failures_come_worst_first():
    records = [record("gan_good", "gan")] * 20 + [record("gan_sr_bad", "gan", "faces")] * 20
    probabilities = np.array([[0.1, 0.9]] * 20 + [[0.8, 0.2]] * 19 + [[0.4, 0.6]])
    found = failure_metrics(records, probabilities, np.ones(40, int))
    assert list(found["sources"]) == ["gan_sr_bad", "gan_good"]
    assert list(found["categories"]) == ["gan: faces", "gan: mixed"]
    assert list(found["origins"]) == ["partly real", "wholly generated"]
    worst = found["sources"]["gan_sr_bad"]
    assert worst["value"] == pytest.approx(1 / 20)
    assert worst["interval_95"][0] < 1 / 20 < worst["interval_95"][1]


def test_the_most_confident_errors_are_wrong_and_confident():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.01, 0.99]])
    assert most_confident_errors(probabilities, np.array([0, 0, 0, 1]), count=5) == [1, 2]


def test_a_contact_sheet_shows_each(records, tmp_path):
    path = tmp_path / "sheet.png"
    contact_sheet(path, records, np.tile([0.3, 0.7], (20, 1)), list(range(7)), ("real", "generated"))
    with Image.open(path) as sheet:
        assert sheet.size == (6 * 200, 2 * 234)
        darkest, brightest = sheet.crop((0, 0, 200, 200)).convert("L").getextrema()
        assert darkest < brightest
