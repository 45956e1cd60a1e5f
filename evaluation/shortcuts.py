"""What tells the classes of a data set apart without the traces of generation.

Two controls. A classifier that sees the file alone, never a pixel: near 50 % balanced accuracy the data set gives no
such hint. And matched pairs of sources that share format or content: a detector of formats or of subjects falls to
chance on them.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.ensemble import HistGradientBoostingClassifier

from evaluation.metrics import Floats, balanced_accuracy, rate_of, roc_auc
from training.data import Record, label_of
from training.sources import REAL

# name -> (what the two sides share, generated sources, real sources), as patterns of artifact_mini's names of sources
PAIRS = {
    "same_format": (
        "repository, resize and original quality",
        r"diff_diffusiondb_part1",
        r"real_(coco_val2017|imagenet_first_classes)_512",
    ),
    "groceries": ("content", r"diff_sd3_grocery", r"real_grocery_store"),
    "translated": ("content", r"gan_(cyclegan|pix2pix)_", r"real_(monet2photo|horse2zebra|pix2pix_targets)"),
    "inpainted": ("content, and most of the pixels", r"gan_inpaint_migan", r"real_migan_places_ffhq"),
    "cartoonised": (
        "repository and content",
        r"gan_(animegan|cartoongan|comixgan|whitebox)",
        r"real_(animegan_photos|cartoongan_inputs|ptran_inputs|whitebox_inputs|experienceml_inputs)",
    ),
    "restored": ("repository and content", r"gan_(gpen|deoldify)", r"real_(gpen_selfie|oldphoto)"),
}


def file_features(path: Path) -> list[float]:
    """Return width, height, bytes, bytes a pixel, format, and the sums of the first two quantisation tables or 0."""
    with Image.open(path) as image:
        tables = [sum(table) for _, table in sorted(getattr(image, "quantization", {}).items())]
        width, height, image_format = *image.size, image.format or ""
    length = path.stat().st_size
    # An arbitrary but fixed number a format: the trees split on it as on a category.
    return [width, height, length, length / (width * height), sum(image_format.encode()), *(tables + [0, 0])[:2]]


def file_only_balanced_accuracy(
    train: Sequence[Record], test: Sequence[Record], seed: int, *, with_length: bool
) -> float:
    """Return the balanced accuracy on `test` of gradient-boosted trees fitted to the files of `train`.

    with_length: use the length in bytes as well, which depends on the content and not only on how a file was made.
    """

    def table(records: Sequence[Record]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        features = np.array([file_features(record.path) for record in records], dtype=float)
        if not with_length:
            features = np.delete(features, [2, 3], axis=1)
        return features, np.array([label_of(record, "authenticity") for record in records])

    trees = HistGradientBoostingClassifier(class_weight="balanced", random_state=seed).fit(*table(train))
    features, labels = table(test)
    return balanced_accuracy(trees.predict(features), labels)


def pair_metrics(records: Sequence[Record], generated: Floats) -> dict[str, dict[str, Any]]:
    """Return the metrics of each pair of which both sides are among the records.

    generated: (N,) probability of being generated. AUC does not depend on any threshold.
    """
    rows = {}
    for name, (shared, generated_sources, real_sources) in PAIRS.items():
        synthetic = generated[[bool(re.match(generated_sources, r.source)) and r.family != REAL for r in records]]
        real = generated[[bool(re.match(real_sources, r.source)) and r.family == REAL for r in records]]
        if len(synthetic) == 0 or len(real) == 0:
            continue
        scores, labels = np.concatenate([real, synthetic]), np.repeat([0, 1], [len(real), len(synthetic)])
        rows[name] = {
            "shared": shared,
            "real": rate_of(real <= 0.5),
            "generated": rate_of(synthetic > 0.5),
            "balanced_accuracy": balanced_accuracy((scores > 0.5).astype(int), labels),
            "roc_auc": roc_auc(scores, labels),
        }
    return rows
