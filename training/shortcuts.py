"""What can be told from the file alone.

A classifier that sees only size, format, length and quantisation tables, never a pixel. Near 50 % balanced accuracy,
the data set gives no such hint; well above, every figure measured on it must be doubted.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import balanced_accuracy_score

from training.data import Record


def file_features(path: Path) -> list[float]:
    """Width, height, bytes, bytes a pixel, format, and the sums of the first two quantisation tables (0 if none)."""
    with Image.open(path) as image:
        tables = [sum(table) for _, table in sorted(getattr(image, "quantization", {}).items())]
        width, height, image_format = *image.size, image.format
    length = path.stat().st_size
    # An arbitrary but fixed number a format: the trees split on it as on a category.
    format_code = sum(image_format.encode())
    return [width, height, length, length / (width * height), format_code, *(tables + [0, 0])[:2]]


def file_only_balanced_accuracy(
    known: list[tuple[Record, int]], new: list[tuple[Record, int]], seed: int, without_length: bool
) -> float:
    """Balanced accuracy on `new` of gradient-boosted trees fitted on the files of `known`.

    without_length: leaves out the length in bytes, which depends on the content and not only on how a file was made.
    """

    def table(items: list[tuple[Record, int]]) -> tuple[np.ndarray, np.ndarray]:
        features = np.array([file_features(record.path) for record, _ in items])
        if without_length:
            features = np.delete(features, [2, 3], axis=1)
        return features, np.array([label for _, label in items])

    features, labels = table(known)
    trees = HistGradientBoostingClassifier(class_weight="balanced", random_state=seed).fit(features, labels)
    features, labels = table(new)
    return float(balanced_accuracy_score(labels, trees.predict(features)))
