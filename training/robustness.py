"""Scores a released authenticity model on worn pictures: `python -m training.robustness --data ROOT --weights FILE`.

Two protocols: degraded (how far accuracy falls from clean to web, hard and screenshot) and stability (how often the
verdict turns from real to generated, or back, between a picture and a copy of it; uncertain is no turn).
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from handlers.classifier import Classifier
from handlers.verdicts import verdict
from training.data import SPLITS, Record, labelled, read_artifact, split
from training.evaluate import conditions, predict
from training.files import replace_json
from training.metrics import balanced_accuracy, wilson_interval
from training.transforms import EvaluationTransform
from training.wear import COPIES, DEGRADATIONS, Wear


class WornTransform:
    """The server's preprocessing of a picture after some wear."""

    def __init__(self, wear: Wear, evaluation: EvaluationTransform) -> None:
        self.wear, self.evaluation = wear, evaluation

    def __call__(self, image: Image.Image) -> torch.Tensor:
        return self.evaluation(self.wear(image))


def score(classifier: Classifier, items: list[tuple[Record, int]], workers: int) -> dict[str, dict]:
    """Both protocols on these items: `degraded` and `stability`, by name of the wear."""
    labels = torch.tensor([label for _, label in items])
    evaluation = EvaluationTransform(classifier.card.preprocessing)

    def logits(wear: Wear) -> torch.Tensor:
        return torch.from_numpy(predict(classifier, items, 32, workers, WornTransform(wear, evaluation)))

    def verdicts(worn: torch.Tensor) -> np.ndarray:
        generated = classifier.probabilities(worn)[:, 1].tolist()
        return np.array([verdict(probability, classifier.card.thresholds) for probability in generated])

    clean = logits(DEGRADATIONS["clean"])
    before = verdicts(clean)
    degraded, stability = {}, {}
    for name, wear in DEGRADATIONS.items():
        worn = clean if name == "clean" else logits(wear)
        degraded[name] = {"balanced_accuracy": balanced_accuracy(worn, labels)}
    for name, wear in COPIES.items():
        after = verdicts(logits(wear))
        flips = int(((before != after) & (before != "uncertain") & (after != "uncertain")).sum())
        stability[name] = {"flips": flips / len(items), "flips_95": wilson_interval(flips, len(items))}
    return {"count": len(items), "degraded": degraded, "stability": stability}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="an ArtiFact root")
    parser.add_argument("--weights", type=Path, required=True, help="released weights with their card beside them")
    parser.add_argument("--split", choices=[name for name, _ in SPLITS], default="test")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="where the JSON goes")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    classifier = Classifier(arguments.weights.parent, arguments.weights.stem, device)
    if classifier.card.thresholds is None:
        parser.error(f"{arguments.weights.name} gives no verdicts: this protocol is for a released authenticity model")
    items = labelled(split(read_artifact(arguments.data), arguments.seed)[arguments.split], "authenticity")
    figures = score(classifier, items, arguments.workers)
    figures["conditions"] = conditions(arguments.data, arguments.split, arguments.seed)
    replace_json(arguments.out, figures)
    print(f"{figures['count']} pictures of the {arguments.split} split")
    for name, row in figures["degraded"].items():
        print(f"  {name:12} balanced accuracy {row['balanced_accuracy']:.1%}")
    for name, row in figures["stability"].items():
        low, high = row["flips_95"]
        print(f"  {name:12} verdict turns {row['flips']:.1%} ({low:.1%} to {high:.1%})")
    print(f"All figures: {arguments.out}")


if __name__ == "__main__":
    main()
