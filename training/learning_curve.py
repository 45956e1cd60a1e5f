"""How much a head gains from more makers, and from more images of each: whether data are what a model lacks.

    python -m training.learning_curve --data ROOT --release model_store/1.0 --embeddings runs/1.0/embeddings

Heads of authenticity on kept embeddings, with the release's penalty and weights by maker, are fitted to a share of the
repositories of each class, or to a share of the images of each. Each is scored on the random folds: the images of
repositories that it has not seen, all folds pooled. Shares are drawn --draws times. It prints a table and writes
docs/learning-curve.svg and .json.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from evaluation import plots
from evaluation.metrics import balanced_accuracy, roc_auc
from evaluation.predict import fp32_engine
from imagetrust.files import replace_json
from imagetrust.models.model import Model
from training.data import DataError, Record, balanced_weights, label_of, read_artifact
from training.embeddings import Embeddings
from training.groups import FOLDS, fold_of
from training.head import fit_head
from training.recipe import RECIPE, read_recipe

TASK = "authenticity"
SHARES = (0.125, 0.25, 0.5, 1.0)


class Point(msgspec.Struct, frozen=True):
    """What heads give that are fitted to a share of the data. least, most: AUC of the worst and the best draw."""

    of: str
    share: float
    repositories: int
    images: int
    balanced_accuracy: float
    roc_auc: float
    least: float
    most: float


def draw(records: Sequence[Record], of: str, share: float, random: np.random.Generator) -> list[int]:
    """Return the places of a share of the records: `of` "repositories" of each class, or "images" of each repository.

    At least one of each is drawn.
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    for place, record in enumerate(records):
        groups.setdefault((label_of(record, TASK), record.maker), []).append(place)

    def some(places: Sequence[int]) -> list[int]:
        count = max(1, round(share * len(places)))
        return [places[i] for i in sorted(random.permutation(len(places))[:count])]

    if of == "images":
        return sorted(place for places in groups.values() for place in some(places))
    makers = list(groups)
    chosen = [makers[i] for label in (0, 1) for i in some([i for i, key in enumerate(makers) if key[0] == label])]
    return sorted(place for key in chosen for place in groups[key])


def curve(
    records: Sequence[Record], embeddings: NDArray[np.floating], inverse_penalty: float, draws: int, seed: int
) -> list[Point]:
    """Return the points of both curves. embeddings: (N, channels) of the records; partly real ones are left out before.

    Raises DataError where a fold's images or the others' are of one class alone.
    """
    labels = np.array([label_of(record, TASK) for record in records])
    folds = np.array([fold_of(record) for record in records])
    for fold in range(FOLDS):
        if len(set(labels[folds == fold])) < 2 or len(set(labels[folds != fold])) < 2:
            raise DataError(f"fold {fold}, or what is outside of it, holds one class alone")
    asked = [(of, share) for of in ("repositories", "images") for share in SHARES if of == "repositories" or share < 1]
    points = []
    with tqdm(total=sum(FOLDS * (draws if share < 1 else 1) for _, share in asked), desc="heads") as progress:
        for of, share in asked:
            rows, seen = [], []
            for number in range(draws if share < 1 else 1):
                logits = np.zeros(len(records))
                for fold in range(FOLDS):
                    outside = np.flatnonzero(folds != fold)
                    random = np.random.default_rng((seed, number, fold))
                    chosen = outside[draw([records[i] for i in outside], of, share, random)]
                    weights = balanced_weights([(records[i], int(labels[i])) for i in chosen]).numpy()
                    weight, bias = fit_head(embeddings[chosen], labels[chosen], weights, inverse_penalty)
                    tested = folds == fold
                    logits[tested] = embeddings[tested] @ (weight[1] - weight[0]) + (bias[1] - bias[0])
                    seen.append((len({records[i].maker for i in chosen}), len(chosen)))
                    progress.update()
                rows.append((balanced_accuracy((logits > 0).astype(int), labels), roc_auc(logits, labels)))
            balanced, areas = np.array(rows).T
            repositories, images = np.mean(seen, axis=0).round().astype(int).tolist()
            points.append(
                Point(
                    of=of,
                    share=share,
                    repositories=repositories,
                    images=images,
                    balanced_accuracy=float(balanced.mean()),
                    roc_auc=float(areas.mean()),
                    least=float(areas.min()),
                    most=float(areas.max()),
                )
            )
    return points


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="an ArtiFact root")
    parser.add_argument("--release", type=Path, required=True, help="whose backbone, recipe and seed are taken")
    parser.add_argument("--embeddings", type=Path, required=True, help="where they are kept, or shall be")
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    arguments = parser.parse_args()
    try:
        recipe, model = read_recipe(arguments.release / RECIPE), Model(arguments.release)
        records = [record for record in read_artifact(arguments.data) if not record.is_partly_real]
        embeddings = Embeddings(fp32_engine(model).fast, recipe.preprocessing, arguments.embeddings).of(records)
        points = curve(records, embeddings, recipe.inverse_penalty, arguments.draws, recipe.seed)
    except (DataError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print("| share | repositories | images | balanced accuracy | AUC (worst to best draw) |\n|---|---|---|---|---|")
    for one in points:
        area = f"{one.roc_auc:.3f} ({one.least:.3f} to {one.most:.3f})"
        row = (f"{one.share:g} of the {one.of}", one.repositories, one.images, f"{one.balanced_accuracy:.3f}", area)
        print(f"| {' | '.join(map(str, row))} |")
    series = {
        f"share of the {of}": {f"{one.share:g}": one.roc_auc for one in points if one.of == of or one.share == 1}
        for of in ("repositories", "images")
    }
    plots.lines(arguments.out / "learning-curve.svg", series, "Repositories left out of training", "AUC", least=0.5)
    replace_json(arguments.out / "learning-curve.json", msgspec.to_builtins(points))
    print(f"Drawn in {arguments.out / 'learning-curve.svg'}. Next: more data where the curve still rises.")


if __name__ == "__main__":
    main()
