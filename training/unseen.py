"""Trains without some generators and photographs, a few folds at a time, and scores on just those.

    python -m training.unseen --data ROOT --out runs/unseen -- --init FILE --epochs 4

Models are chosen by the validation part; the test part (--part test) is for the final report. Each round's heads are
fitted anew (training.refit), as those to be released are, and calibrated on pictures that it may know; nothing of what
it is scored on takes part. A finished round is not trained again, an interrupted one goes on.

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
from training.calibration import fit_temperature, verdict_thresholds
from training.data import Record, labelled, read_artifact, split, split_of
from training.evaluate import conditions, predict
from training.files import replace_json
from training.folds import FOLDS, ROUNDS, Fold
from training.metrics import balanced_accuracy, expected_calibration_error
from training.precision import bf16_is_fast
from training.refit import refitted
from training.release import ERROR
from training.sources import REAL

# Of pictures that were left out of training every split is new; of those kept, only the split of that name is.
LEFT_OUT_PARTS = {"validation": ("train", "validation"), "test": ("calibration", "test")}


def scored(records: list[Record], known: list[Record], fold: Fold, part: str, seed: int) -> list[tuple[Record, int]]:
    """What a fold is scored on: its left-out pictures, and of what was known those of the other class and the part."""
    left_out = [r for r in records if fold.is_tested(r) and split_of(r.group, seed) in LEFT_OUT_PARTS[part]]
    other_class = [r for r in split(known, seed)[part] if (r.family == REAL) != fold.photographs]
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
    parser.add_argument("--out", type=Path, required=True, help="folder of the rounds' runs and of the report")
    parser.add_argument("--rounds", type=int, nargs="+", choices=range(len(ROUNDS)), default=[0, 1, 2])
    parser.add_argument("--part", choices=LEFT_OUT_PARTS, default="validation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("train_options", nargs="*", help="after --: further options of training.train")
    arguments = parser.parse_args()

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    records = read_artifact(arguments.data)
    report_path = arguments.out / f"{arguments.part}.json"
    folds: dict[str, dict] = {}
    for number in arguments.rounds:
        names, run = ROUNDS[number], arguments.out / f"round_{number}"
        command = [
            sys.executable, "-m", "training.train", "--data", str(arguments.data), "--task", "both",
            "--out", str(run), "--leave-out", *names, "--seed", str(arguments.seed),
            "--workers", str(arguments.workers), "--resume", *arguments.train_options,
        ]  # fmt: skip
        subprocess.run(command, check=True)
        refit = [sys.executable, "-m", "training.refit", "--data", str(arguments.data), "--run", str(run)]
        subprocess.run([*refit, "--workers", str(arguments.workers)], check=True)
        folds |= score_round(refitted(run), names, device, records, arguments.part, arguments.seed, arguments.workers)
        report = {
            "conditions": conditions(arguments.data, arguments.part, arguments.seed, bf16_is_fast(device)),
            "options": arguments.train_options,
            "folds": folds,
        }
        replace_json(report_path, report)
    print_table(folds)
    print(f"All figures: {report_path}")


def score_round(
    run: Path, names: tuple[str, ...], device: torch.device, records: list[Record], part: str, seed: int, workers: int
) -> dict[str, dict]:
    """The figures of each fold of a trained round, calibrated on pictures of what it was trained on."""
    left_out = [FOLDS[name] for name in names]
    known = [record for record in records if not any(fold.is_left_out(record) for fold in left_out)]
    classifier = Classifier(run, "authenticity", device)
    bf16 = bf16_is_fast(classifier.device)
    calibration = labelled(split(known, seed)["calibration"], "authenticity")
    logits = predict(classifier, calibration, 32, workers, bf16=bf16)
    truth = np.array([label for _, label in calibration])
    temperature = fit_temperature(logits, truth)
    thresholds, _ = verdict_thresholds(_generated(logits, temperature), truth, ERROR)

    items_of = {name: scored(records, known, FOLDS[name], part, seed) for name in names}
    # A round's folds share the pictures of the other class: each is looked at once.
    items = list({record.path: (record, label) for items in items_of.values() for record, label in items}.values())
    scores = _generated(predict(classifier, items, 32, workers, bf16=bf16), temperature)
    score_of = {record.path: score for (record, _), score in zip(items, scores, strict=True)}
    return {
        name: fold_figures(
            np.array([score_of[record.path] for record, _ in items]),
            np.array([label for _, label in items]),
            thresholds,
        )
        | {"reason": FOLDS[name].reason}
        for name, items in items_of.items()
    }


def print_table(folds: dict[str, dict]) -> None:
    """One line a fold, and the mean and the worst of those that leave out generators."""
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


def _generated(logits: np.ndarray, temperature: float) -> np.ndarray:
    return torch.from_numpy(logits / temperature).softmax(1)[:, 1].numpy()


if __name__ == "__main__":
    main()
