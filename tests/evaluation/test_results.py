import sys

from evaluation import results
from evaluation.metrics import classification_metrics
from evaluation.metrics_file import write_sections
from tests.releases import CURRENT


def test_the_served_release_is_the_current_one():
    assert results.current_release() == CURRENT


def test_the_table_is_printed(small_release, capsys, monkeypatch):
    import numpy as np

    row = classification_metrics(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1]), ("real", "generated"))
    write_sections(small_release, {"test": {"conditions": {"data": "made", "split": "test"}, "authenticity": row}})
    monkeypatch.setattr(sys, "argv", ["results", "--release", str(small_release)])
    results.main()
    assert "| authenticity, known sources | 2 | 100.0% (34.2% to 100.0%) |" in capsys.readouterr().out
