"""What a cascade is worth: the fast model answers where it is sure, the accurate one where it is not.

    python -m benchmarks.cascade --fast model_store/1.0-fast --accurate model_store/1.0 --wild ROOT

Each model serves the whole images of the wild set one by one, on one thread, in the precision that serving chooses. The
cost of an image is what this process spent on it: decoding, views and network; a cascade decodes once. How sure the
fast model must be is chosen on the choosing half (the least at which the cascade is within a point of the accurate
model's balanced accuracy); the reported half alone makes the table and the plot.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from archive_scripts.prepare import BuildError, prepare
from evaluation import plots
from evaluation.metrics import Bools, Floats, Labels, balanced_accuracy, roc_auc
from evaluation.wild import read_wild, wild_half
from imagetrust.files import replace_json
from imagetrust.images.decode import decode
from imagetrust.models.model import Model
from imagetrust.runtime.engine import choose_engine
from training.data import DataError, Record, label_of

TASK = "authenticity"
# Probabilities of the predicted class, from which the fast model answers.
SURE = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
WITHIN = 0.01  # of the accurate model's balanced accuracy


@dataclass(frozen=True)
class Served:
    """What one model makes of N images. generated: (N,) calibrated probabilities.

    seconds, decoding: (N,) of processor time, all of it and the part until the image is decoded.
    """

    generated: Floats
    seconds: Floats
    decoding: Floats


class Point(msgspec.Struct, frozen=True):
    """One way of answering: how sure the fast model must be, and what that gives.

    sure: None for a model alone. asked: share of the images that the accurate model sees. seconds: of processor time an
    image, the mean.
    """

    name: str
    sure: float | None
    asked: float
    balanced_accuracy: float
    roc_auc: float | None
    seconds: float


def serve(release: Path, records: Sequence[Record]) -> Served:
    """Answer for each image as a worker with one thread does. Raises BuildError for a release that cannot be served."""
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory(prefix="imagetrust-cascade-") as scratch:
        model: Model = prepare(release, Path(scratch) / "model")
        engine, preprocessing = choose_engine(model), model.config.preprocessing
        engine.score([preprocessing.pixels(_decoded(records[0], preprocessing.min_side()))], (TASK,))
        for record in tqdm(records, desc=f"{release.name}, {engine.name}", unit="image", mininterval=5):
            began = time.process_time()
            image = _decoded(record, preprocessing.min_side())
            decoded = time.process_time()
            (scores,) = engine.score([preprocessing.pixels(image)], (TASK,))
            generated = float(model.probabilities(TASK, scores.logits[TASK])[1])
            rows.append((generated, time.process_time() - began, decoded - began))
    return Served(*np.array(rows).T)


def _decoded(record: Record, min_side: int | None) -> Image.Image:
    return decode(record.path.read_bytes(), min_side).image


def points(fast: Served, accurate: Served, labels: Labels, chosen: Bools) -> list[Point]:
    """Return what each way of answering gives on the chosen images (N,), from the fast model alone to the accurate."""

    def point(name: str, sure: float | None, asked: Bools, generated: Floats, seconds: Floats) -> Point:
        called, classes = (generated[chosen] > 0.5).astype(int), labels[chosen]
        return Point(
            name=name,
            sure=sure,
            asked=float(asked[chosen].mean()),
            balanced_accuracy=balanced_accuracy(called, classes),
            roc_auc=roc_auc(generated[chosen], classes),
            seconds=float(seconds[chosen].mean()),
        )

    never = np.zeros(len(labels), bool)
    found = [point("fast alone", None, never, fast.generated, fast.seconds)]
    for sure in SURE:
        asked = np.maximum(fast.generated, 1 - fast.generated) < sure
        generated = np.where(asked, accurate.generated, fast.generated)
        seconds = fast.seconds + asked * (accurate.seconds - accurate.decoding)
        found.append(point(f"cascade, sure from {sure:.0%}", sure, asked, generated, seconds))
    return [*found, point("accurate alone", None, ~never, accurate.generated, accurate.seconds)]


def least_sure(found: Sequence[Point]) -> float | None:
    """Return the least of SURE at which a cascade is WITHIN the accurate model, the last point; None for none."""
    enough = [one for one in found if one.balanced_accuracy >= found[-1].balanced_accuracy - WITHIN]
    return min((one.sure for one in enough if one.sure is not None), default=None)


def main() -> None:
    """Compare from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", type=Path, required=True, help="a release's folder")
    parser.add_argument("--accurate", type=Path, required=True, help="a release's folder")
    parser.add_argument("--wild", type=Path, required=True, help="the set of whole images")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="where cascade.svg and cascade.json go")
    arguments = parser.parse_args()
    try:
        records = read_wild(arguments.wild)
        fast, accurate = serve(arguments.fast, records), serve(arguments.accurate, records)
    except (BuildError, DataError, OSError) as error:
        sys.exit(f"error: {error}")
    labels = np.array([label_of(record, TASK) for record in records])
    choosing = np.array([wild_half(record) == "choosing" for record in records])
    sure, found = least_sure(points(fast, accurate, labels, choosing)), points(fast, accurate, labels, ~choosing)
    print(f"wild, reported half: {int((~choosing).sum())} images; processor time of one thread, mean of an image")
    print("| | accurate asked | balanced accuracy | AUC | CPU seconds | times fast |\n|---|---|---|---|---|---|")
    for one in found:
        ratio = one.seconds / found[0].seconds
        print(
            f"| {one.name} | {one.asked:.0%} | {one.balanced_accuracy:.3f} | {one.roc_auc:.3f} | {one.seconds:.3f} "
            f"| {ratio:.1f} |"
        )
    print(
        f"The choosing half says: sure from {sure:.0%}."
        if sure is not None
        else f"No cascade comes within {WITHIN:.0%} of the accurate model on the choosing half."
    )
    plots.cost_accuracy(
        arguments.out / "cascade.svg",
        [(one.name, one.seconds, one.balanced_accuracy, one.roc_auc or 0) for one in found],
        "Whole images (wild, reported half)",
    )
    replace_json(arguments.out / "cascade.json", {"chosen": sure, "points": msgspec.to_builtins(found)})
    print(f"Next: look at {arguments.out / 'cascade.svg'}")


if __name__ == "__main__":
    main()
