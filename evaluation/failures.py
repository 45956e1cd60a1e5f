"""Where a model fails: by source, by category, on images that are partly real, and the most confident errors.

The contact sheet shows images whose licences forbid passing them on: it goes where the caller says, never into the
repository.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from evaluation.metrics import Floats, Labels, rates_by_group
from imagetrust.files import replace_file
from imagetrust.images.decode import decode
from training.data import Record

# Made from a real image of which much is left: that they count as generated is a decision.
PARTLY_REAL = re.compile(
    r"gan_(sr|inpaint|gpen|gfpgan|deoldify|esrgan)_|gan_stylegan2_wikiart_|diff_adm_ffhq_dps_|diff_ootdiffusion_"
    r"|diff_flux1_dev_kontext_|other_(deep_photo_style_transfer|nst_)"
)
_CELL, _CAPTION, _COLUMNS = 200, 34, 6  # pixels, pixels, cells a row


def failure_metrics(records: Sequence[Record], probabilities: Floats, labels: Labels) -> dict[str, Any]:
    """Return accuracy with counts and intervals by source, category and origin, the worst first.

    probabilities: (N, classes). labels: (N,) class indices.
    """
    correct = probabilities.argmax(1) == labels
    kinds = {
        "sources": [record.source for record in records],
        "categories": [f"{record.family}: {record.category}" for record in records],
        "origins": [_origin(record) for record in records],
    }
    return {kind: rates_by_group(names, correct) for kind, names in kinds.items()}


def _origin(record: Record) -> str:
    if PARTLY_REAL.match(record.source):
        return "partly real"
    return "real" if record.family == "real" else "wholly generated"


def most_confident_errors(probabilities: Floats, labels: Labels, count: int) -> list[int]:
    """Return the indices of the wrong predictions, the most confident first, at most `count`."""
    wrong = np.flatnonzero(probabilities.argmax(1) != labels)
    indices: list[int] = wrong[np.argsort(-probabilities.max(1)[wrong], kind="stable")][:count].tolist()
    return indices


def contact_sheet(
    path: Path, records: Sequence[Record], probabilities: Floats, indices: Sequence[int], classes: tuple[str, ...]
) -> None:
    """Write a PNG of the images at these indices, with their sources and predictions."""
    rows = -(-len(indices) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * _CELL, max(1, rows) * (_CELL + _CAPTION)), "white")
    pen = ImageDraw.Draw(sheet)
    for position, index in enumerate(indices):
        left, top = position % _COLUMNS * _CELL, position // _COLUMNS * (_CELL + _CAPTION)
        image = decode(records[index].path.read_bytes(), _CELL).image
        image.thumbnail((_CELL, _CELL))
        sheet.paste(image, (left, top))
        predicted = classes[int(probabilities[index].argmax())]
        pen.text((left + 2, top + _CELL + 2), records[index].source[:32], fill="black")
        pen.text((left + 2, top + _CELL + 16), f"{predicted} {probabilities[index].max():.1%}", fill="red")
    replace_file(path, lambda temporary: sheet.save(temporary, "PNG"))
