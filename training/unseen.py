"""Trains authenticity once a fold without some generators or photographs, and scores it on just those.

    python -m training.unseen --data ROOT --init FILE --out runs/unseen --epochs 4

Models are chosen by the validation part; the test part (--part test) is for the final report. Each fold's model is
calibrated on pictures that it may know; nothing of what it is scored on takes part. A finished fold is not trained
again, an interrupted one goes on.

An --init that was trained with labels on the whole data set would know the generators left out: start from ImageNet's
weights or from ones that never saw a label.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from handlers.card import Thresholds
from handlers.classifier import Classifier
from training.calibration import conformal_thresholds, fit_temperature
from training.data import Record, labelled, read_artifact, split, split_of
from training.evaluate import conditions, predict
from training.files import replace_json
from training.folds import FOLDS, Fold
from training.metrics import balanced_accuracy, expected_calibration_error
from training.release import ERROR

# Of pictures that were left out of training every split is new; of those kept, only the split of that name is.
LEFT_OUT_PARTS = {"validation": ("train", "validation"), "test": ("calibration", "test")}


def scored(records: list[Record], fold: Fold, part: str, seed: int) -> list[tuple[Record, int]]:
    """What a fold is scored on: its left-out pictures, and those of the other class that belong to the part."""
    left_out = [r for r in records if fold.is_tested(r) and split_of(r.group, seed) in LEFT_OUT_PARTS[part]]
    kept = [r for r in split(records, seed)[part] if not fold.is_left_out(r)]
    other_class = [r for r in kept if (r.family == "real") != fold.photographs]
    return labelled(left_out + other_class, "authenticity")


def fold_figures(generated: np.ndarray, labels: np.ndarray, thresholds: Thresholds) -> dict[str, float]:
    """The figures of one fold: generated (N,) calibrated probabilities, labels (N,) 0 real and 1 generated."""
    probabilities = np.stack([1 - generated, generated], axis=1)
    predicted = probabilities.argmax(1)
    confidence, correct = probabilities.max(1), predicted == labels
    decided = (generated >= thresholds.generated) | (generated <= thresholds.real)
    return {
        "photographs": int((labels == 0).sum()),
        "generated": int((labels == 1).sum()),
        "photographs_right": float(correct[labels == 0].mean()),
        "generated_right": float(correct[labels == 1].mean()),
        "balanced_accuracy": balanced_accuracy(torch.from_numpy(probabilities), torch.from_numpy(labels)),
        "expected_calibration_error": expected_calibration_error(confidence, correct),
        "wrong_above_0.9_confidence": float((~correct & (confidence > 0.9)).mean()),
        "decided": float(decided.mean()),
        "photographs_called_generated": float((generated[labels == 0] >= thresholds.generated).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="an ArtiFact root")
    parser.add_argument("--init", default="imagenet", help="as of training.train")
    parser.add_argument("--out", type=Path, required=True, help="folder of the folds' runs and of the report")
    parser.add_argument("--folds", nargs="+", choices=FOLDS, default=[name for name in FOLDS if name != "published"])
    parser.add_argument("--part", choices=LEFT_OUT_PARTS, default="validation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("train_options", nargs="*", help="after --: further options of training.train")
    arguments = parser.parse_args()

    records = read_artifact(arguments.data)
    report: dict[str, object] = {"conditions": conditions(arguments.data, arguments.part, arguments.seed)}
    report["recipe"] = {"init": arguments.init, "epochs": arguments.epochs, "options": arguments.train_options}
    report["folds"] = folds = {}
    for name in arguments.folds:
        fold, run = FOLDS[name], arguments.out / name
        command = [
            sys.executable, "-m", "training.train", "--data", str(arguments.data), "--task", "authenticity",
            "--init", arguments.init, "--out", str(run), "--leave-out", name, "--seed", str(arguments.seed),
            "--epochs", str(arguments.epochs), "--workers", str(arguments.workers), "--resume",
            *arguments.train_options,
        ]  # fmt: skip
        subprocess.run(command, check=True)
        classifier = Classifier(run, "authenticity", torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        known = split([r for r in records if not fold.is_left_out(r)], arguments.seed)["calibration"]
        calibration = labelled(known, "authenticity")
        logits = predict(classifier, calibration, 32, arguments.workers)
        truth = np.array([label for _, label in calibration])
        temperature = fit_temperature(logits, truth)
        thresholds = conformal_thresholds(_generated(logits, temperature), truth, ERROR)

        items = scored(records, fold, arguments.part, arguments.seed)
        logits = predict(classifier, items, 32, arguments.workers)
        labels = np.array([label for _, label in items])
        folds[name] = fold_figures(_generated(logits, temperature), labels, thresholds) | {"reason": fold.reason}
        replace_json(arguments.out / f"{arguments.part}.json", report)

    print(
        f"{'fold':16} {'real':>5} {'gen.':>5} {'real ok':>8} {'gen. ok':>8} {'balanced':>9} {'ECE':>6} {'>0.9 bad':>9}"
    )
    for name, row in folds.items():
        print(
            f"{name:16} {row['photographs']:5} {row['generated']:5} {row['photographs_right']:8.1%} "
            f"{row['generated_right']:8.1%} {row['balanced_accuracy']:9.1%} {row['expected_calibration_error']:6.3f} "
            f"{row['wrong_above_0.9_confidence']:9.1%}"
        )
    generators = [row["balanced_accuracy"] for name, row in folds.items() if not FOLDS[name].photographs]
    if generators:
        print(f"unseen generators: mean balanced accuracy {np.mean(generators):.1%}, worst fold {min(generators):.1%}")
    print(f"All figures: {arguments.out / (arguments.part + '.json')}")


def _generated(logits: np.ndarray, temperature: float) -> np.ndarray:
    return torch.from_numpy(logits / temperature).softmax(1)[:, 1].numpy()


if __name__ == "__main__":
    main()
