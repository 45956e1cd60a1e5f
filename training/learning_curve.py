"""What more data would be worth: `python -m training.learning_curve --data ROOT`.

Fits heads to ImageNet's features of ever larger parts of the training data, once more pictures of the same sources and
once more sources, and scores each on known sources and on the generators that every round of training/folds.py leaves
out, on validation pictures. Heads alone, since training the trunk for each point would take days on a processor: what
counts is the slope.
"""

import argparse
import random
from pathlib import Path

import numpy as np
import torch

from handlers.card import Preprocessing
from training import plots
from training.content import imagenet_features
from training.data import Record, balanced_weights, labelled, read_artifact, split
from training.evaluate import conditions
from training.files import replace_json
from training.folds import FOLDS, ROUNDS
from training.heads import fit_head
from training.initial_weights import NORMALISATION
from training.metrics import balanced_accuracy
from training.precision import bf16_is_fast
from training.sources import REAL
from training.transforms import EvaluationTransform
from training.unseen import scored

SHARES = (0.125, 0.25, 0.5, 1.0)
DRAWS = 5  # of each share below the whole; which sources they are matters more than how many
_PREPROCESSING = Preprocessing(size=192, crop=0.96, interpolation="bicubic", **NORMALISATION["efficientnet_lite0"])


def more_pictures(records: list[Record], share: float, rng: random.Random) -> list[Record]:
    """This share of the pictures, of all sources alike."""
    return rng.sample(records, round(share * len(records)))


def more_sources(records: list[Record], share: float, rng: random.Random) -> list[Record]:
    """All pictures of this share of the sources: of the photographs' and of the generators' alike, one at least."""
    kept: set[str] = set()
    for real in (True, False):
        sources = sorted({record.source for record in records if (record.family == REAL) == real})
        kept |= set(rng.sample(sources, max(1, round(share * len(sources)))))
    return [record for record in records if record.source in kept]


WAYS = {"more pictures of the same sources": more_pictures, "more sources": more_sources}


def score_head(
    features: dict[Path, np.ndarray], trained: list[Record], parts: dict[str, list[tuple[Record, int]]]
) -> dict[str, float]:
    """The balanced accuracy on each part of a head fitted to the trained records' features."""

    def rows(items: list[tuple[Record, int]]) -> tuple[np.ndarray, np.ndarray]:
        return np.stack([features[record.path] for record, _ in items]), np.array([label for _, label in items])

    items = labelled(trained, "authenticity")
    weight, bias = fit_head(*rows(items), balanced_weights(items).numpy())
    accuracy = {}
    for name, part in parts.items():
        seen, labels = rows(part)
        accuracy[name] = balanced_accuracy(torch.from_numpy(seen @ weight.T + bias), torch.from_numpy(labels))
    return accuracy


def score_share(
    features: dict[Path, np.ndarray], records: list[Record], rounds: list[int], way: str, share: float, seed: int
) -> dict[str, float]:
    """The mean balanced accuracy over draws, rounds and folds of heads fitted to this share of the training data."""
    by_part: dict[str, list[float]] = {}
    for number in rounds:
        folds = [FOLDS[name] for name in ROUNDS[number] if not FOLDS[name].photographs]
        known = [record for record in records if not any(FOLDS[name].is_left_out(record) for name in ROUNDS[number])]
        split_of_known = split(known, seed)
        parts = {fold.name: scored(records, known, fold, "validation", seed) for fold in folds}
        parts["seen"] = labelled(split_of_known["validation"], "authenticity")
        for draw in range(DRAWS if share < 1 else 1):
            trained = WAYS[way](split_of_known["train"], share, random.Random(f"{seed} {share} {draw}"))
            for name, value in score_head(features, trained, parts).items():
                by_part.setdefault(name, []).append(value)
    means = {name: float(np.mean(values)) for name, values in by_part.items()}
    seen = means.pop("seen")
    return {"seen": seen, "unseen": float(np.mean(list(means.values())))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="an ArtiFact root")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "reports", help="for figures and plot")
    parser.add_argument("--rounds", type=int, nargs="+", choices=range(len(ROUNDS)), default=[0, 1, 2])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    records = read_artifact(arguments.data)
    seen = imagenet_features(records, EvaluationTransform(_PREPROCESSING), device, arguments.workers)
    features = {record.path: row for record, row in zip(records, seen, strict=True)}
    ways: dict[str, dict[str, dict[str, float]]] = {way: {} for way in WAYS}
    for share in SHARES:
        for way in WAYS:
            row = score_share(features, records, arguments.rounds, way, share, arguments.seed)
            ways[way][f"{share:.3g}"] = row
            print(f"{way}, {share:.3g} of them: seen {row['seen']:.1%}, unseen {row['unseen']:.1%}", flush=True)
    described = conditions(arguments.data, "validation", arguments.seed, bf16_is_fast(device))
    replace_json(arguments.out / "learning_curve.json", {"conditions": described, "draws": DRAWS, "ways": ways})
    series = {
        f"{way}: {kind}": {share: row[kind] for share, row in points.items()}
        for way, points in ways.items()
        for kind in ("seen", "unseen")
    }
    plots.lines(arguments.out / "learning_curve.svg", series, "What more data is worth", "balanced accuracy")
    print("Next: python -m training.report, which takes these figures into the report")


if __name__ == "__main__":
    main()
