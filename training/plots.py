"""Figures as pictures: each function draws one and writes it as SVG, whole or not at all."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from training.files import replace_file

matplotlib.rcParams |= {
    "svg.hashsalt": "imagetrust",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_BLUE, _ORANGE, _GREY = "#3366aa", "#dd7733", "#999999"


def _write(figure: Figure, path: Path) -> None:
    # Without a date the same numbers give the same bytes.
    replace_file(
        path, lambda temporary: figure.savefig(temporary, format="svg", bbox_inches="tight", metadata={"Date": None})
    )


def roc(path: Path, curves: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """curves: name -> (labels (N,) with 1 for generated, probabilities of being generated (N,))."""
    figure = Figure(figsize=(4, 4))
    axes = figure.subplots()
    for name, (labels, generated) in curves.items():
        accused, found, _ = roc_curve(labels, generated)
        axes.plot(accused, found, label=name)
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=0.7)
    axes.set(xlabel="photographs called generated", ylabel="generated pictures found", title="ROC")
    axes.legend()
    _write(figure, path)


def confusion(path: Path, matrix: list[list[int]], classes: tuple[str, ...], title: str) -> None:
    """matrix[true][said] counts pictures."""
    counts = np.array(matrix)
    shares = counts / counts.sum(axis=1, keepdims=True)
    figure = Figure(figsize=(1.3 + 0.8 * len(classes), 1 + 0.7 * len(classes)))
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(counts.shape):
        shade = "white" if shares[row, column] > 0.6 else "black"
        axes.text(
            column, row, f"{counts[row, column]}\n{shares[row, column]:.0%}", ha="center", va="center", color=shade
        )
    axes.set(xlabel="said", ylabel="true", title=title)
    axes.set_xticks(range(len(classes)), classes)
    axes.set_yticks(range(len(classes)), classes)
    _write(figure, path)


def reliability(path: Path, confidence: np.ndarray, correct: np.ndarray, title: str, bins: int = 10) -> None:
    """How often answers of each confidence are right, with how many there are."""
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    filled = [b for b in range(bins) if (index == b).any()]
    figure = Figure(figsize=(4, 4))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color=_GREY, linewidth=0.7)
    upper.plot(
        [confidence[index == b].mean() for b in filled], [correct[index == b].mean() for b in filled],
        marker="o", color=_BLUE,
    )  # fmt: skip
    upper.set(ylabel="share that is right", title=title, xlim=(0, 1), ylim=(0, 1))
    lower.hist(confidence, bins=bins, range=(0, 1), color=_BLUE)
    lower.set(xlabel="confidence", ylabel="pictures")
    _write(figure, path)


def coverage(path: Path, curves: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Error among the surest pictures against how many of them are answered. curves: name -> (confidence, correct)."""
    figure = Figure(figsize=(5, 3.5))
    axes = figure.subplots()
    for name, (confidence, correct) in curves.items():
        order = np.argsort(-confidence)
        answered = np.arange(1, len(order) + 1)
        axes.plot(answered / len(order), (~correct[order]).cumsum() / answered, label=name)
    axes.axhline(0.05, color=_GREY, linewidth=0.7)
    axes.set(
        xlabel="share of pictures decided, surest first", ylabel="errors among them", title="Coverage against error"
    )
    axes.legend()
    _write(figure, path)


def bars(path: Path, rows: dict[str, tuple[float, float, float, int]], title: str, label: str) -> None:
    """One horizontal bar a row, with its interval. rows: name -> (value, low, high, count)."""
    figure = Figure(figsize=(7, 0.9 + 0.19 * len(rows)))
    axes = figure.subplots()
    names = list(rows)[::-1]
    values, lows, highs, _ = (np.array([rows[name][i] for name in names]) for i in range(4))
    axes.barh(range(len(names)), values, color=_BLUE, height=0.7)
    # A Wilson interval of a share at 0 or 1 may miss it by a rounding error.
    errors = np.maximum(0, [values - lows, highs - values])
    axes.errorbar(values, range(len(names)), xerr=errors, fmt="none", ecolor=_ORANGE, linewidth=0.8)
    axes.set_yticks(range(len(names)), [f"{name} ({rows[name][3]})" for name in names], fontsize=7)
    axes.set(xlim=(0, 1), ylim=(-0.6, len(names) - 0.4), xlabel=label, title=title)
    _write(figure, path)


def lines(path: Path, series: dict[str, dict[str, float]], title: str, label: str) -> None:
    """Values over named conditions, one line a series; the axis starts at a coin's toss."""
    figure = Figure(figsize=(5.5, 3.5))
    axes = figure.subplots()
    for name, values in series.items():
        axes.plot(list(values), list(values.values()), marker="o", label=name)
    axes.set(ylabel=label, title=title)
    axes.set_ylim(0 if min(min(values.values()) for values in series.values()) < 0.5 else 0.5, 1)
    axes.tick_params(axis="x", rotation=30)
    axes.legend()
    _write(figure, path)
