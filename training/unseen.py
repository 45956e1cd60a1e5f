"""Trains without some generators and photographs, a few folds at a time, and scores on just those.

    python -m training.unseen --data ROOT --out runs/unseen -- --init FILE --epochs 4

Models are chosen by the validation part; the test part (--part test) is for the final report. Each round's heads are
fitted anew (training.refit), as those to be released are, and calibrated as those are: half on pictures of what the
round may know, half on the validation part of what the other rounds left out, by those rounds' models. Nothing of what
a round is scored on takes part. A finished round is not trained again, an interrupted one goes on.

An --init that was trained with labels on the whole data set would know the generators left out: start from ImageNet's
weights or from ones that never saw a label.
"""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from handlers.card import Thresholds
from handlers.classifier import Classifier
from training.calibration import Answers, fit_open_temperature, verdict_thresholds
from training.data import Record, labelled, read_artifact, split, split_of
from training.evaluate import conditions, predict
from training.files import replace_json
from training.folds import FOLDS, ROUNDS, Fold
from training.metrics import balanced_accuracy, expected_calibration_error
from training.precision import bf16_is_fast
from training.recipe import read_settings, recipe_changes, seed_of
from training.refit import refitted
from training.sources import REAL

ERROR = 0.05  # of photographs called generated, and of errors among the decided
# Of pictures that were left out of training every split is new; of those kept, only the split of that name is.
LEFT_OUT_PARTS = {"validation": ("train", "validation"), "test": ("calibration", "test")}


def scored(records: list[Record], known: list[Record], fold: Fold, part: str, seed: int) -> list[tuple[Record, int]]:
    """What a fold is scored on: its left-out pictures, and of what was known those of the other class and the part."""
    left_out = [r for r in records if fold.is_tested(r) and split_of(r.group, seed) in LEFT_OUT_PARTS[part]]
    other_class = [r for r in split(known, seed)[part] if (r.family == REAL) != fold.photographs]
    return labelled(left_out + other_class, "authenticity")


def scored_folds(
    records: list[Record], known: list[Record], folds: list[Fold], part: str, seed: int
) -> dict[str, list[tuple[Record, int]]]:
    """`scored` by the fold's name, without the folds of which the data set has no picture; these it names."""
    items_of = {}
    for fold in folds:
        items = scored(records, known, fold, part, seed)
        if len({label for _, label in items}) == 2:
            items_of[fold.name] = items
        else:
            print(f"{fold.name}: the data set has no picture of it, or none to hold against it; left out")
    return items_of


@dataclass(frozen=True)
class Unseen:
    """What a model says of the pictures of one fold that it was trained without."""

    fold: Fold
    logits: np.ndarray  # (N, classes)
    labels: np.ndarray  # (N,) class indices
    paths: tuple[Path, ...]  # N files

    @property
    def answers(self) -> Answers:
        return self.logits, self.labels

    def without(self, paths: set[Path]) -> "Unseen":
        """Leave out what it says of these files."""
        kept = [row for row, path in enumerate(self.paths) if path not in paths]
        return Unseen(self.fold, self.logits[kept], self.labels[kept], tuple(self.paths[row] for row in kept))


class Round:
    """A finished training without some folds. What it is asked is computed in bf16 where that is fast."""

    def __init__(
        self, run: Path, names: tuple[str, ...], task: str, device: torch.device, records: list[Record], seed: int,
        workers: int,
    ) -> None:  # fmt: skip
        self.folds = [FOLDS[name] for name in names]
        self.classifier = Classifier(run, task, device)
        self.task, self.records, self.seed, self.workers = task, records, seed, workers
        self.known = [record for record in records if not any(fold.is_left_out(record) for fold in self.folds)]

    def calibration(self) -> Answers:
        """Its answers on the calibration split of what it was trained on."""
        return self._answers(labelled(split(self.known, self.seed)["calibration"], self.task))

    def unseen(self, part: str) -> list[Unseen]:
        """Its answers on that part of each fold, and of the known pictures of the other class.

        Folds of which the data set has no picture are left out.
        """
        asked = scored_folds(self.records, self.known, self.folds, part, self.seed)
        if not asked:
            return []
        # A round's folds share the pictures of the other class: each is looked at once.
        together = list({record.path: record for items in asked.values() for record, _ in items}.values())
        items = labelled(together, self.task)
        logits, labels = self._answers(items)
        row_of = {record.path: row for row, (record, _) in enumerate(items)}
        found = []
        for name, of_fold in asked.items():
            paths = tuple(record.path for record, _ in of_fold if record.path in row_of)
            rows = [row_of[path] for path in paths]
            found.append(Unseen(FOLDS[name], logits[rows], labels[rows], paths))
        return found

    def _answers(self, items: list[tuple[Record, int]]) -> Answers:
        bf16 = bf16_is_fast(self.classifier.device)
        return predict(self.classifier, items, 32, self.workers, bf16=bf16), np.array([label for _, label in items])


def finished_rounds(
    folder: Path,
    task: str,
    device: torch.device,
    records: list[Record],
    workers: int,
    run: Path | None = None,
) -> list[Round]:
    """The rounds in a folder of this command whose trainings and heads are finished, with the seeds of their runs.

    run: the folder of the run that they are to speak for. Raises ValueError where not all are of one recipe, which the
    folds that are left out are no part of.
    """
    rounds = [(refitted(folder / f"round_{number}"), names) for number, names in enumerate(ROUNDS)]
    rounds = [(path, names) for path, names in rounds if (path / f"{task}.json").exists()]
    paths = [*([run] if run else []), *(path for path, _ in rounds)]
    for path in paths[1:]:
        if changes := recipe_changes(read_settings(paths[0]), read_settings(path), besides=("leave_out",)):
            raise ValueError(f"{paths[0]} and {path} were trained by different recipes: {'; '.join(changes)}")
    return [Round(path, names, task, device, records, seed_of(path, task), workers) for path, names in rounds]


def generated(logits: np.ndarray, temperature: float) -> np.ndarray:
    """(N,) the calibrated probability of being generated, from authenticity's logits (N, 2)."""
    return torch.from_numpy(logits / temperature).softmax(1)[:, 1].numpy()


def calibrate(known: Answers, unseen: list[Unseen]) -> tuple[float, Thresholds, bool]:
    """Authenticity's temperature and thresholds, and whether these could be shown to hold (training.calibration).

    known: a model's answers on its calibration split. unseen: other models' on what those had not seen.
    """
    temperature = fit_open_temperature(known, [each.answers for each in unseen])
    photographs = [each for each in unseen if each.fold.photographs and (each.labels == 0).any()]
    strange = [generated(each.logits[each.labels == 0], temperature) for each in photographs]
    logits, labels = known
    thresholds, shown = verdict_thresholds(
        generated(logits, temperature),
        labels,
        ERROR,
        strange_photographs=np.concatenate(strange) if strange else None,
    )
    return temperature, thresholds, shown


def score_round(known: Answers, unseen: list[Unseen], elsewhere: list[Unseen]) -> tuple[dict[str, dict], list[Answers]]:
    """The figures of each of a round's folds, and the calibrated probabilities (N, 2) and labels behind them.

    known: the round's answers on its calibration split. unseen: those that are scored. elsewhere: what the other
    rounds' models say of what those had left out; on the validation part the rounds share images, and those that are
    scored take no part in the calibration.
    """
    scored_paths = {path for each in unseen for path in each.paths}
    apart = [each.without(scored_paths) for each in elsewhere]
    temperature, thresholds, _ = calibrate(known, [each for each in apart if len(each.labels)])
    figures, answers = {}, []
    for each in unseen:
        scores = generated(each.logits, temperature)
        probabilities = np.stack([1 - scores, scores], axis=1)
        left_out = each.labels == (0 if each.fold.photographs else 1)
        figures[each.fold.name] = fold_figures(scores, each.labels, thresholds) | {
            "left_out": left_out_figures(probabilities[left_out], each.labels[left_out]),
            "reason": each.fold.reason,
        }
        answers.append((probabilities, each.labels))
    return figures, answers


def confidence_figures(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """How honest the confidence of calibrated probabilities (N, classes) is."""
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
    return {
        "expected_calibration_error": expected_calibration_error(confidence, correct),
        "wrong_above_0.9_confidence": float((~correct & (confidence > 0.9)).mean()),
    }


def left_out_figures(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The figures of left-out pictures alone, without the known ones that a fold holds against them.

    probabilities (N, 2), labels (N,). All of a fold are of one class, so that accuracy is that class's recall.
    """
    return {
        "count": len(labels),
        "recall": float((probabilities.argmax(1) == labels).mean()),
        **confidence_figures(probabilities, labels),
    }


def fold_figures(scores: np.ndarray, labels: np.ndarray, thresholds: Thresholds) -> dict[str, float]:
    """The figures of one fold.

    scores (N,): calibrated probabilities of being generated. labels (N,): 0 real, 1 generated.
    """
    probabilities = np.stack([1 - scores, scores], axis=1)
    correct = probabilities.argmax(1) == labels
    decided = (scores >= thresholds.generated) | (scores <= thresholds.real)
    wrong = ((scores >= thresholds.generated) & (labels == 0)) | ((scores <= thresholds.real) & (labels == 1))
    return {
        "photographs": int((labels == 0).sum()),
        "generated": int((labels == 1).sum()),
        "photographs_right": float(correct[labels == 0].mean()),
        "generated_right": float(correct[labels == 1].mean()),
        "balanced_accuracy": balanced_accuracy(torch.from_numpy(probabilities), torch.from_numpy(labels)),
        "auc": float(roc_auc_score(labels, scores)),
        **confidence_figures(probabilities, labels),
        "decided": float(decided.mean()),
        "errors_among_decided": float(wrong.sum() / max(1, decided.sum())),
        "photographs_called_generated": float((scores[labels == 0] >= thresholds.generated).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="an ArtiFact root")
    parser.add_argument("--out", type=Path, required=True, help="folder of the rounds' runs and of the report")
    parser.add_argument(
        "--rounds",
        type=int,
        nargs="+",
        choices=range(len(ROUNDS)),
        default=[0, 1, 2],
        help="to train where they are not; all finished ones in --out are scored",
    )
    parser.add_argument("--part", choices=LEFT_OUT_PARTS, default="validation")
    parser.add_argument("--seed", type=int, default=0, help="of the trainings; scoring takes it from them")
    parser.add_argument("--content", type=float, default=1.0, help="as of training.refit")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("train_options", nargs="*", help="after --: further options of training.train")
    arguments = parser.parse_args()

    for number in arguments.rounds:
        run = arguments.out / f"round_{number}"
        command = [
            sys.executable, "-m", "training.train", "--data", str(arguments.data), "--task", "both",
            "--out", str(run), "--leave-out", *ROUNDS[number], "--seed", str(arguments.seed),
            "--workers", str(arguments.workers), "--resume", *arguments.train_options,
        ]  # fmt: skip
        _run(command)
        refit = [sys.executable, "-m", "training.refit", "--data", str(arguments.data), "--run", str(run)]
        _run([*refit, "--content", str(arguments.content), "--workers", str(arguments.workers)])

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    records = read_artifact(arguments.data)
    try:
        rounds = finished_rounds(arguments.out, "authenticity", device, records, arguments.workers)
    except ValueError as error:
        sys.exit(f"error: {error}")
    calibrating = [one.unseen("validation") for one in rounds]
    folds: dict[str, dict] = {}
    generators: list[Answers] = []  # of the left-out pictures alone
    for number, one in enumerate(rounds):
        elsewhere = [each for other, answers in enumerate(calibrating) if other != number for each in answers]
        unseen = calibrating[number] if arguments.part == "validation" else one.unseen(arguments.part)
        figures, answers = score_round(one.calibration(), unseen, elsewhere)
        folds |= figures
        generators += [
            (probabilities[labels == 1], labels[labels == 1])
            for (probabilities, labels), asked in zip(answers, unseen, strict=True)
            if not asked.fold.photographs
        ]
    if not generators:
        sys.exit(f"error: {arguments.data} has pictures of none of the generators that were left out")
    report = {
        "conditions": conditions(arguments.data, arguments.part, rounds[0].seed, bf16_is_fast(device)),
        "options": arguments.train_options,
        "folds": folds,
        "unseen_generators_together": left_out_figures(
            np.concatenate([probabilities for probabilities, _ in generators]),
            np.concatenate([labels for _, labels in generators]),
        ),
    }
    report_path = arguments.out / f"{arguments.part}.json"
    replace_json(report_path, report)
    print_table(folds)
    together = report["unseen_generators_together"]
    print(
        f"their {together['count']} pictures together: recall {together['recall']:.1%}, "
        f"ECE {together['expected_calibration_error']:.3f}, "
        f"wrong at over 90 % {together['wrong_above_0.9_confidence']:.1%}"
    )
    print(f"All figures: {report_path}")


def _run(command: list[str]) -> None:
    """Ends this program as well where the command fails, which has said why."""
    status = subprocess.run(command).returncode
    if status:
        sys.exit(status)


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
    generators = [row for name, row in folds.items() if not FOLDS[name].photographs]
    if generators:
        balanced = [row["balanced_accuracy"] for row in generators]
        recall = [row["generated_right"] for row in generators]
        print(
            f"unseen generators: mean recall {np.mean(recall):.1%}, worst fold {min(recall):.1%}; "
            f"mean balanced accuracy {np.mean(balanced):.1%}, worst fold {min(balanced):.1%}"
        )


if __name__ == "__main__":
    main()
