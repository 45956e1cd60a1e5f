"""Pairs of sources that share format or content, so that only the making of the picture tells them apart.

A detector that has learnt file formats falls to a coin's toss on the first pair, one that has learnt what the pictures
show on the others. Both sources of a pair are scored on pictures that were not trained on.
"""

import re

import numpy as np

from training.data import Record
from training.metrics import wilson_interval
from training.sources import REAL

# name -> (what the two share, generated sources, real sources), as patterns of artifact_mini's names of sources
PAIRS = {
    "same_format": (
        "repository, resize and original quality",
        r"diff_diffusiondb_part1",
        r"real_(coco_val2017|imagenet_first_classes)_512",
    ),
    "groceries": ("content", r"diff_sd3_grocery", r"real_grocery_store"),
    "translated": (
        "content",
        r"gan_(cyclegan|pix2pix)_",
        r"real_(monet2photo|horse2zebra|pix2pix_targets)",
    ),
    "inpainted": ("content, and most of the pixels", r"gan_inpaint_migan", r"real_migan_places_ffhq"),
}


def pair_figures(records: list[Record], generated: np.ndarray) -> dict[str, dict]:
    """The figures of each pair of which both sides are there.

    generated (N,): the records' probabilities of being generated. Balanced accuracy is of the likelier class, and
    `auc` is how often a generated picture scores above a real one, whatever the threshold.
    """
    figures = {}
    for name, (shared, generated_sources, real_sources) in PAIRS.items():
        made = generated[[bool(re.match(generated_sources, r.source)) and r.family != REAL for r in records]]
        real = generated[[bool(re.match(real_sources, r.source)) and r.family == REAL for r in records]]
        if len(made) == 0 or len(real) == 0:
            continue
        found, kept = int((made > 0.5).sum()), int((real <= 0.5).sum())
        figures[name] = {
            "shared": shared,
            "generated": len(made),
            "photographs": len(real),
            "generated_right_95": wilson_interval(found, len(made)),
            "photographs_right_95": wilson_interval(kept, len(real)),
            "balanced_accuracy": (found / len(made) + kept / len(real)) / 2,
            "auc": float((made[:, None] > real[None]).mean() + (made[:, None] == real[None]).mean() / 2),
        }
    return figures
