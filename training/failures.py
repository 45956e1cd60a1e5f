"""Where a model fails: by source, by kind of picture, and the errors it was surest of.

The contact sheet shows pictures of the data set, whose licences forbid passing them on: it goes where the caller says,
never into the repository.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from handlers.decode import decode
from training.data import Record
from training.files import replace_file
from training.metrics import wilson_interval

_CELL, _CAPTION, _COLUMNS = 200, 34, 6


def failure_figures(records: list[Record], probabilities: np.ndarray, labels: np.ndarray) -> dict[str, dict]:
    """Accuracy with counts and 95 % intervals by source and by category; each worst first.

    probabilities (N, classes), labels (N,).
    """
    right = probabilities.argmax(1) == labels
    kinds = {"sources": [r.source for r in records], "categories": [f"{r.family}: {r.category}" for r in records]}
    figures = {}
    for kind, names in kinds.items():
        groups = defaultdict(list)
        for name, is_right in zip(names, right, strict=True):
            groups[name].append(bool(is_right))
        rows = {
            name: {
                "count": len(hits),
                "accuracy": sum(hits) / len(hits),
                "accuracy_95": wilson_interval(sum(hits), len(hits)),
            }
            for name, hits in groups.items()
        }
        figures[kind] = dict(sorted(rows.items(), key=lambda item: item[1]["accuracy_95"][1]))
    return figures


def surest_errors(probabilities: np.ndarray, labels: np.ndarray, count: int) -> list[int]:
    """Indices of the wrong answers, the most confident first."""
    wrong = np.flatnonzero(probabilities.argmax(1) != labels)
    return wrong[np.argsort(-probabilities.max(1)[wrong])][:count].tolist()


def contact_sheet(
    path: Path, records: list[Record], probabilities: np.ndarray, indices: list[int], classes: tuple[str, ...]
) -> None:
    """Writes a PNG of these pictures with their sources and what the model said of them."""
    rows = -(-len(indices) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * _CELL, max(1, rows) * (_CELL + _CAPTION)), "white")
    pen = ImageDraw.Draw(sheet)
    for position, index in enumerate(indices):
        left, top = position % _COLUMNS * _CELL, position // _COLUMNS * (_CELL + _CAPTION)
        picture = decode(records[index].path.read_bytes()).image
        picture.thumbnail((_CELL, _CELL))
        sheet.paste(picture, (left, top))
        said = classes[int(probabilities[index].argmax())]
        pen.text((left + 2, top + _CELL + 2), records[index].source[:32], fill="black")
        pen.text((left + 2, top + _CELL + 16), f"{said} {probabilities[index].max():.1%}", fill="red")
    replace_file(path, lambda temporary: sheet.save(temporary, "PNG"))
