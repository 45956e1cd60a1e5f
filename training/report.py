"""Everything a sceptic would ask of the released models, in one command: `python -m training.report --data ROOT`.

Scores the released weights by every protocol that needs no training, writes the figures and plots into
training/reports/, and from all figures there the report and the model cards. Protocols that train (unseen)
are commands of their own; their figures are taken from training/reports/ as they are. `--only` repeats some steps.
"""

import argparse
import csv
import io
import json
import random
from pathlib import Path

import numpy as np
import torch

from handlers.classifier import Classifier
from training import adversarial, plots
from training.cards import write_cards, write_report
from training.data import CLASSES, Record, labelled, read_artifact, split
from training.evaluate import conditions, evaluate, predict
from training.failures import contact_sheet, failure_figures, surest_errors
from training.files import replace_bytes, replace_json
from training.pairs import pair_figures
from training.precision import bf16_is_fast
from training.release import RELEASED
from training.robustness import score
from training.shortcuts import file_only_balanced_accuracy

REPORTS = Path(__file__).resolve().parent / "reports"


class Scored:
    """One released model and what it says of the test split."""

    def __init__(self, task: str, released: Path, records: list[Record], workers: int) -> None:
        self.classifier = Classifier(released, task, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        self.items = labelled(records, task)
        self.logits = predict(self.classifier, self.items, 32, workers)
        self.records = [record for record, _ in self.items]
        self.labels = np.array([label for _, label in self.items])
        self.probabilities = self.classifier.probabilities(torch.from_numpy(self.logits)).numpy()

    @property
    def correct(self) -> np.ndarray:
        return self.probabilities.argmax(1) == self.labels


def seen(out: Path, scored: dict[str, Scored], described: dict) -> None:
    """Held-out pictures of known sources: figures, every answer, and the plots."""
    figures = {task: evaluate(one.classifier, one.items, one.logits) for task, one in scored.items()}
    replace_json(out / "seen.json", {"conditions": described} | figures)
    for task, one in scored.items():
        classes = CLASSES[task]
        rows = [("source", "file", "label", *classes)]
        for record, label, row in zip(one.records, one.labels, one.probabilities, strict=True):
            rows.append((record.source, record.path.name, classes[label], *(f"{p:.5f}" for p in row)))
        replace_bytes(out / f"{task}_predictions.csv", _csv(rows))
        plots.confusion(out / f"{task}_confusion.svg", figures[task]["confusion"], classes, task)
        plots.reliability(out / f"{task}_reliability.svg", one.probabilities.max(1), one.correct, task)
        failed = failure_figures(one.records, one.probabilities, one.labels)
        replace_json(out / f"{task}_failures.json", {"conditions": described} | failed)
        for kind, its_rows in failed.items():
            plots.bars(
                out / f"{task}_{kind}.svg",
                {name: (row["accuracy"], *row["accuracy_95"], row["count"]) for name, row in its_rows.items()},
                f"{task}, by {kind}",
                "accuracy on test, 95 % interval",
            )
    authenticity = scored["authenticity"]
    plots.roc(out / "roc.svg", {"seen sources": (authenticity.labels, authenticity.probabilities[:, 1])})
    plots.coverage(
        out / "coverage.svg", {task: (one.probabilities.max(1), one.correct) for task, one in scored.items()}
    )


def worn(out: Path, scored: dict[str, Scored], described: dict, workers: int) -> None:
    """Degraded pictures and the stability of verdicts under copying."""
    authenticity = scored["authenticity"]
    figures = score(authenticity.classifier, authenticity.items, workers)
    replace_json(out / "robustness.json", {"conditions": described} | figures)
    degraded = {name: row["balanced_accuracy"] for name, row in figures["degraded"].items()}
    plots.lines(out / "degraded.svg", {"authenticity": degraded}, "Degraded pictures", "balanced accuracy")


def attacked(out: Path, scored: dict[str, Scored], described: dict, count: int, seed: int, workers: int) -> None:
    """Gradient attacks on a part of the test split, and what hides traces on all of it."""
    authenticity = scored["authenticity"]
    draw = random.Random(seed)
    by_label = [[item for item in authenticity.items if item[1] == label] for label in (0, 1)]
    chosen = [item for items in by_label for item in draw.sample(items, min(count // 2, len(items)))]
    figures = {
        "conditions": described,
        "gradient": adversarial.attack(authenticity.classifier, chosen),
        "hiding": adversarial.hidden(authenticity.classifier, authenticity.items, workers),
    }
    replace_json(out / "adversarial.json", figures)
    descent = {f"{eps}/255": row["accuracy"] for eps, row in figures["gradient"].items()}
    plots.lines(out / "gradient.svg", {"authenticity": descent}, "Projected gradient descent", "accuracy")


def matched(out: Path, scored: dict[str, Scored], parts: dict[str, list[Record]], described: dict, seed: int) -> None:
    """Pairs that share format or content, and what the files alone give away."""
    authenticity = scored["authenticity"]
    known = labelled(parts["train"], "authenticity")
    shortcuts = {
        name: file_only_balanced_accuracy(known, authenticity.items, seed, without_length)
        for name, without_length in (("size, format, quantisation", True), ("these and the length", False))
    }
    pairs = pair_figures(authenticity.records, authenticity.probabilities[:, 1])
    replace_json(out / "pairs.json", {"conditions": described, "from_the_file_alone": shortcuts, "pairs": pairs})


def _csv(rows: list[tuple]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode()


STEPS = ("seen", "worn", "attacked", "matched")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="an ArtiFact root")
    parser.add_argument("--released", type=Path, default=RELEASED, help="folder of weights and cards")
    parser.add_argument("--out", type=Path, default=REPORTS, help="where figures, plots and report go")
    parser.add_argument("--only", nargs="+", choices=STEPS, default=STEPS, help="steps to repeat")
    parser.add_argument("--attacked", type=int, default=200, help="pictures that are attacked by gradient")
    parser.add_argument("--sheet", type=Path, default=Path("runs/reports"), help="folder for contact sheets of errors")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()

    seed = json.loads((arguments.released / "authenticity.json").read_text())["training"]["seed"]
    parts = split(read_artifact(arguments.data), seed)
    described = conditions(arguments.data, "test", seed)
    scored = {task: Scored(task, arguments.released, parts["test"], arguments.workers) for task in CLASSES}
    faster = conditions(arguments.data, "test", seed, bf16_is_fast(scored["authenticity"].classifier.device))
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    if "seen" in arguments.only:
        seen(out, scored, described)
        arguments.sheet.mkdir(parents=True, exist_ok=True)
        for task, one in scored.items():
            surest = surest_errors(one.probabilities, one.labels, 48)
            contact_sheet(arguments.sheet / f"{task}_errors.png", one.records, one.probabilities, surest, CLASSES[task])
    if "worn" in arguments.only:
        worn(out, scored, faster, arguments.workers)
    if "attacked" in arguments.only:
        attacked(out, scored, faster, arguments.attacked, seed, arguments.workers)
    if "matched" in arguments.only:
        matched(out, scored, parts, described, seed)
    write_report(out)
    write_cards(arguments.released, out)
    print(f"Report: {out / 'REPORT.md'}; cards: {arguments.released}/*.md; the surest errors: {arguments.sheet}/*.png")


if __name__ == "__main__":
    main()
