"""Plots of the report: each function draws one and writes it as SVG, in one step.

Without a date the same numbers give the same bytes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.calibration import CalibrationDisplay
from sklearn.metrics import ConfusionMatrixDisplay, RocCurveDisplay

from evaluation.metrics import Bools, Floats, Labels, Rate
from imagetrust.files import replace_file

matplotlib.rcParams |= {
    "svg.hashsalt": "imagetrust",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_BAR, _INTERVAL = "#3366aa", "#dd7733"


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots()


def _write(figure: Figure, path: Path) -> None:
    replace_file(
        path, lambda temporary: figure.savefig(temporary, format="svg", bbox_inches="tight", metadata={"Date": None})
    )


def roc(path: Path, curves: Mapping[str, tuple[Labels, Floats]]) -> None:
    """Draw ROC curves. curves: name -> (labels (N,) with 1 for generated, probabilities of being generated (N,))."""
    figure, axes = _axes(4, 4)
    for number, (name, (labels, generated)) in enumerate(curves.items()):
        RocCurveDisplay.from_predictions(labels, generated, name=name, ax=axes, plot_chance_level=number == 0)
    axes.set(title="ROC")
    _write(figure, path)


def confusion(path: Path, matrix: Sequence[Sequence[int]], classes: Sequence[str], title: str) -> None:
    """Draw a confusion matrix. matrix[true][predicted] counts images."""
    figure, axes = _axes(1.6 + 0.8 * len(classes), 1.2 + 0.7 * len(classes))
    ConfusionMatrixDisplay(np.array(matrix), display_labels=classes).plot(ax=axes, cmap="Blues", colorbar=False)
    axes.set(title=title)
    _write(figure, path)


def calibration(path: Path, confidence: Floats, correct: Bools, title: str) -> None:
    """Draw a reliability diagram. confidence: (N,) probability of the predicted class. correct: (N,)."""
    figure, axes = _axes(4, 4)
    CalibrationDisplay.from_predictions(correct.astype(int), confidence, n_bins=10, ax=axes, name=title)
    axes.set(xlabel="confidence", ylabel="accuracy", title=title)
    _write(figure, path)


def coverage_risk(path: Path, curves: Mapping[str, tuple[Floats, Bools]]) -> None:
    """Draw selective risk over coverage, the most confident images first. curves: name -> (confidence, correct)."""
    figure, axes = _axes(5, 3.5)
    for name, (confidence, correct) in curves.items():
        order = np.argsort(-confidence, kind="stable")
        decided = np.arange(1, len(order) + 1)
        axes.plot(decided / len(order), (~correct[order]).cumsum() / decided, label=name)
    axes.set(xlabel="coverage", ylabel="selective risk", title="Coverage and risk")
    axes.legend()
    _write(figure, path)


def bars(path: Path, rows: Mapping[str, Rate], title: str, label: str) -> None:
    """Draw one horizontal bar a row, with its interval. rows: name -> rate (evaluation.metrics)."""
    figure, axes = _axes(7, 0.9 + 0.19 * len(rows))
    names = list(rows)[::-1]
    values = np.array([rows[name]["value"] for name in names])
    intervals = np.array([rows[name]["interval_95"] for name in names])
    axes.barh(range(len(names)), values, color=_BAR, height=0.7)
    # A Wilson interval of a rate of 0 or 1 may miss it by a rounding error.
    errors = np.maximum(0, [values - intervals[:, 0], intervals[:, 1] - values])
    axes.errorbar(values, range(len(names)), xerr=errors, fmt="none", ecolor=_INTERVAL, linewidth=0.8)
    axes.set_yticks(range(len(names)), [f"{name} ({rows[name]['count']})" for name in names], fontsize=7)
    axes.set(xlim=(0, 1), ylim=(-0.6, len(names) - 0.4), xlabel=label, title=title)
    _write(figure, path)


def lines(path: Path, series: Mapping[str, Mapping[str, float]], title: str, label: str, least: float = 0.0) -> None:
    """Draw values over named conditions, one line a series. series: name -> condition -> value in least..1."""
    figure, axes = _axes(5.5, 3.5)
    for name, values in series.items():
        axes.plot(list(values), list(values.values()), marker="o", label=name)
    axes.set(ylabel=label, title=title, ylim=(least, 1))
    axes.tick_params(axis="x", rotation=30)
    axes.legend()
    _write(figure, path)


def cost_accuracy(path: Path, points: Sequence[tuple[str, float, float, float]], title: str) -> None:
    """Draw balanced accuracy and AUC over cost. points: (name, CPU seconds an image, balanced accuracy, AUC)."""
    figure, axes = _axes(5.5, 3.5)
    names, seconds, accuracy, auc = zip(*sorted(points, key=lambda one: one[1]), strict=True)
    axes.plot(seconds, accuracy, marker="o", color=_BAR, label="balanced accuracy")
    axes.plot(seconds, auc, marker="s", color=_INTERVAL, label="AUC")
    for end in (0, -1):
        axes.annotate(
            names[end], (seconds[end], accuracy[end]), xytext=(0, -14), textcoords="offset points", ha="center"
        )
    axes.set(xlabel="CPU seconds an image", title=title)
    axes.legend()
    _write(figure, path)
