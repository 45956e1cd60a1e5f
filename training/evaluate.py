"""Scores a weights file on one split: `python -m training.evaluate --data ROOT --weights FILE.safetensors`.

The card beside the weights says task, preprocessing, calibration and the seed of the split. Inference is the server's
own code, in fp32. A folder of whole pictures with a labels.csv (training.data.read_wild) has no splits: it is scored
whole.
"""

import argparse
import platform
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from handlers.classifier import Classifier
from handlers.preprocessing import needed_side
from handlers.verdicts import verdict
from training.data import (
    SPLITS,
    WILD_LABELS,
    Pictures,
    Record,
    data_digest,
    labelled,
    read_artifact,
    read_wild,
    split,
)  # fmt: skip
from training.files import replace_json
from training.metrics import report, wilson_interval
from training.precision import autocast
from training.recipe import seed_of
from training.transforms import EvaluationTransform


def predict(
    classifier: Classifier,
    items: list[tuple[Record, int]],
    batch: int,
    workers: int,
    transform=None,
    bf16: bool = False,
) -> np.ndarray:
    """(N, classes) float32 logits of all items, in order, with a progress bar.

    transform: from an RGB picture to the network's input; the server's own where not given. bf16: faster, where only
    figures are wanted and not what the server would say to the last digit.
    """
    preprocessing = classifier.card.preprocessing
    if transform:
        pictures = Pictures(items, transform)
    else:
        pictures = Pictures(items, EvaluationTransform(preprocessing), needed_side(preprocessing))
    loader = DataLoader(pictures, batch_size=batch, num_workers=workers)
    with autocast(classifier.device, bf16):
        logits = [
            classifier.logits(classifier.features(tensors)).float().cpu()
            for tensors, _ in tqdm(loader, desc=classifier.card.name, mininterval=5)
        ]
    return torch.cat(logits).numpy()


def evaluate(classifier: Classifier, items: list[tuple[Record, int]], logits: np.ndarray) -> dict:
    """All figures of these logits, with the card's calibration applied: overall, by source, and the verdicts."""
    probabilities = classifier.probabilities(torch.from_numpy(logits)).numpy()
    labels = np.array([label for _, label in items])
    figures = report(probabilities, labels, classifier.card.classes)
    if classifier.card.thresholds:
        figures["verdicts"] = _verdict_figures(classifier, probabilities[:, 1], labels)
    correct_by_source = defaultdict(list)
    for (record, label), row in zip(items, probabilities, strict=True):
        correct_by_source[record.source].append(int(row.argmax() == label))
    figures["sources"] = {
        source: {"count": len(correct), "accuracy": sum(correct) / len(correct)}
        for source, correct in sorted(correct_by_source.items())
    }
    return figures


def _verdict_figures(classifier: Classifier, generated: np.ndarray, labels: np.ndarray) -> dict:
    verdicts = np.array([verdict(probability, classifier.card.thresholds) for probability in generated])
    photographs, decided = labels == 0, verdicts != "uncertain"
    wrong = ((verdicts == "generated") & photographs) | ((verdicts == "real") & ~photographs)
    accused = int(((verdicts == "generated") & photographs).sum())
    return {
        "decided": float(decided.mean()),
        "errors_among_decided": float(wrong.sum() / max(1, decided.sum())),
        "photographs_called_generated": accused / max(1, int(photographs.sum())),
        "photographs_called_generated_95": wilson_interval(accused, int(photographs.sum())),
        "generated_called_real": float(((verdicts == "real") & ~photographs).sum() / max(1, (~photographs).sum())),
    }


def conditions(data: Path, split_name: str, seed: int, bf16: bool = False) -> dict[str, str]:
    """What a figure depends on and its reader must know."""
    return {
        "data": data.name,
        "split": split_name,
        "seed": str(seed),
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "precision": "bf16" if bf16 else "fp32",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def summary(task: str, scored_on: str, figures: dict) -> str:
    """Say the figures of `evaluate` in lines for reading, rates with counts and 95 % intervals (Wilson)."""
    low, high = figures["accuracy_95"]
    auc = f", AUC {figures['roc_auc']:.3f}" if "roc_auc" in figures else ""
    lines = [
        f"{task} on {scored_on}, {figures['count']} pictures: accuracy {figures['accuracy']:.1%} "
        f"({low:.1%} to {high:.1%}), balanced {figures['balanced_accuracy']:.1%}{auc}, "
        f"macro F1 {figures['macro_f1']:.3f}, ECE {figures['expected_calibration_error']:.3f}"
    ]
    for row, (name, of_class) in enumerate(figures["classes"].items()):
        right, count = figures["confusion"][row][row], of_class["count"]
        low, high = wilson_interval(right, count)
        lines.append(
            f"  {name:10} recall {of_class['recall']:.1%} ({low:.1%} to {high:.1%}; {right} of {count})  "
            f"precision {of_class['precision']:.1%}"
        )
    if "verdicts" in figures:
        verdicts, (real, generated) = figures["verdicts"], (row["count"] for row in figures["classes"].values())
        decided = round(verdicts["decided"] * figures["count"])
        for what, rate, total in (
            ("decided", verdicts["decided"], figures["count"]),
            ("errors among the decided", verdicts["errors_among_decided"], decided),
            ("false positive rate: real called generated", verdicts["photographs_called_generated"], real),
            ("generated called real", verdicts["generated_called_real"], generated),
        ):
            low, high = wilson_interval(round(rate * total), total)
            lines.append(f"  {what} {rate:.1%} ({low:.1%} to {high:.1%}; {round(rate * total)} of {total})")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="an ArtiFact root, or a folder with a labels.csv")
    parser.add_argument("--weights", type=Path, required=True, help="a safetensors file with its card beside it")
    parser.add_argument("--split", choices=[name for name, _ in SPLITS], default="test")
    parser.add_argument("--out", type=Path, help="where the JSON goes; beside the weights where not given")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    classifier = Classifier(arguments.weights.parent, arguments.weights.stem, device)
    task = classifier.card.name
    seed = seed_of(arguments.weights.parent, task)
    if (arguments.data / WILD_LABELS).exists():
        part, records = "all", read_wild(arguments.data)
        items = labelled(records, task)
    else:
        part, records = arguments.split, read_artifact(arguments.data)
        items = labelled(split(records, seed)[part], task)
    figures = evaluate(classifier, items, predict(classifier, items, arguments.batch, arguments.workers))
    figures["conditions"] = conditions(arguments.data, part, seed) | {
        "data_digest": data_digest(records, arguments.data)
    }

    out = arguments.out or arguments.weights.with_name(f"{arguments.weights.stem}.{arguments.data.name}.{part}.json")
    replace_json(out, figures)
    print(summary(task, f"{arguments.data.name}, {part}", figures))
    print(f"All figures: {out}")


if __name__ == "__main__":
    main()
