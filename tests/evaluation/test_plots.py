import numpy as np

from evaluation import plots
from evaluation.metrics import rate


def test_plots_are_the_same_for_the_same_numbers(tmp_path):
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 50), rng.random(50)
    correct = (scores > 0.5) == labels
    drawn = []
    for folder in (tmp_path / "first", tmp_path / "second"):
        folder.mkdir()
        plots.roc(folder / "roc.svg", {"test": (labels, scores)})
        plots.calibration(folder / "calibration.svg", scores, correct, "title")
        plots.coverage_risk(folder / "coverage.svg", {"test": (scores, correct)})
        plots.confusion(folder / "confusion.svg", [[3, 1], [0, 4]], ("real", "generated"), "title")
        plots.bars(folder / "bars.svg", {"a": rate(9, 9), "b": rate(0, 9)}, "title", "label")
        plots.lines(folder / "lines.svg", {"test": {"clean": 0.9, "hard": 0.4}}, "title", "label")
        drawn.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert drawn[0] == drawn[1] and len(drawn[0]) == 6
    assert all(b"<svg" in content for content in drawn[0].values())
