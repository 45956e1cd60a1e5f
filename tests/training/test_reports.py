"""Reports count what they say, and cards say what the figures say."""

import numpy as np
import pytest
import torch
from PIL import Image

from archive_scripts.build import RELEASED
from handlers.classifier import Classifier
from training import adversarial, plots
from training.data import Record, labelled, read_artifact
from training.failures import contact_sheet, failure_figures, surest_errors
from training.pairs import pair_figures
from training.wear import HIDING


def record(source: str, family: str, category: str = "mixed") -> Record:
    return Record(None, source, family, source, category, source)


def test_pairs_by_hand():
    records = [record("diff_sd3_grocery", "diffusion")] * 2 + [record("real_grocery_store", "real")] * 4
    figures = pair_figures(records, np.array([0.9, 0.3, 0.1, 0.2, 0.3, 0.8]))
    assert list(figures) == ["groceries"]
    row = figures["groceries"]
    assert (row["generated"], row["photographs"]) == (2, 4)
    assert row["balanced_accuracy"] == pytest.approx((1 / 2 + 3 / 4) / 2)
    assert row["auc"] == pytest.approx((4 + 2 + 0.5) / 8)


def test_failures_come_worst_first():
    records = [record("good", "gan")] * 20 + [record("bad", "gan", "faces")] * 20
    labels = np.ones(40, int)
    probabilities = np.array([[0.1, 0.9]] * 20 + [[0.8, 0.2]] * 19 + [[0.4, 0.6]])
    figures = failure_figures(records, probabilities, labels)
    assert list(figures["sources"]) == ["bad", "good"] and list(figures["categories"]) == ["gan: faces", "gan: mixed"]
    assert figures["sources"]["bad"]["accuracy"] == pytest.approx(1 / 20)
    low, high = figures["sources"]["bad"]["accuracy_95"]
    assert low < 1 / 20 < high


def test_the_surest_errors_are_wrong_and_sure():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.01, 0.99]])
    assert surest_errors(probabilities, np.array([0, 0, 0, 1]), count=5) == [1, 2]


def test_a_contact_sheet_shows_each(data_root, tmp_path):
    records = [record for record, _ in labelled(read_artifact(data_root), "authenticity")][:7]
    path = tmp_path / "sheet.png"
    contact_sheet(path, records, np.tile([0.3, 0.7], (7, 1)), list(range(7)), ("real", "generated"))
    with Image.open(path) as sheet:
        assert sheet.size == (6 * 200, 2 * 234)
        darkest, brightest = sheet.crop((0, 0, 200, 200)).convert("L").getextrema()
        assert darkest < brightest


@pytest.fixture(scope="module")
def items(data_root):
    return labelled(read_artifact(data_root), "authenticity")[::50]


def test_gradient_descent_turns_verdicts(items):
    """The stronger the attack, the fewer answers survive; a broken attack would leave them as they were."""
    classifier = Classifier(RELEASED, "authenticity", torch.device("cpu"))
    figures = adversarial.attack(classifier, items, epsilons=(8,))
    assert list(figures) == ["0", "8"]
    assert figures["8"]["accuracy"] < max(0.5, figures["0"]["accuracy"])
    assert all(row["count"] == len(items) for row in figures.values())


def test_hiding_names_every_wear(items):
    figures = adversarial.hidden(Classifier(RELEASED, "authenticity", torch.device("cpu")), items, workers=0)
    assert set(figures) == set(HIDING)
    assert all(0 <= share <= 1 for row in figures.values() for share in row.values())


@pytest.mark.parametrize("name", HIDING)
def test_hiding_keeps_a_picture_of_some_size(photo, name):
    worn = HIDING[name](photo)
    assert worn.mode == "RGB" and min(worn.size) >= min(photo.size) // 2
    assert worn.tobytes() == HIDING[name](photo).tobytes()


def test_plots_are_the_same_for_the_same_numbers(tmp_path):
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 50), rng.random(50)
    correct = (scores > 0.5) == labels
    drawn = []
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        plots.roc(tmp_path / folder / "roc.svg", {"seen": (labels, scores)})
        plots.reliability(tmp_path / folder / "reliability.svg", scores, correct, "title")
        plots.coverage(tmp_path / folder / "coverage.svg", {"seen": (scores, correct)})
        plots.confusion(tmp_path / folder / "confusion.svg", [[3, 1], [0, 4]], ("real", "generated"), "title")
        plots.bars(tmp_path / folder / "bars.svg", {"a": (1.0, 0.8, 1.0, 9), "b": (0.0, 0.0, 0.3, 9)}, "title", "label")
        plots.lines(tmp_path / folder / "lines.svg", {"ours": {"clean": 0.9, "hard": 0.4}}, "title", "label")
        drawn.append({path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()})
    assert drawn[0] == drawn[1] and len(drawn[0]) == 6
    assert all(b"<svg" in content for content in drawn[0].values())
