"""Run the protocols on a release and write its report: `python -m evaluation.report --release FOLDER --data ROOT`.

Each step writes its sections of metrics.json in the release's folder and leaves the others, so that an interrupted
report goes on where it stopped (--only). REPORT.md and MODEL_CARD.md are rendered from that file alone. Plots,
predictions and contact sheets go to runs/reports/<version>/: they show images that may not be passed on.
"""

import argparse
import csv
import functools
import io
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluation import attacks, plots
from evaluation.cam_metrics import map_metrics
from evaluation.failures import contact_sheet, failure_metrics, most_confident_errors
from evaluation.metrics_file import write_sections
from evaluation.predict import Logits, conditions, fp32_engine, predict, probabilities_of, task_metrics
from evaluation.render import write_documents
from evaluation.robustness import TASK, degraded_metrics, stability_metrics
from evaluation.shortcuts import file_only_balanced_accuracy, pair_metrics
from evaluation.wild import read_wild, saved_kinds, wild_half, wild_metrics
from imagetrust.files import replace_bytes
from imagetrust.models.model import Model
from training.data import NO_LABEL, Record, label_of, read_artifact, split
from training.embeddings import Embeddings

PLOTS = Path("runs") / "reports"
GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden"
_ERRORS = 48  # images of a contact sheet


@dataclass(frozen=True)
class Sizes:
    """How many images the costly protocols take.

    corrupted: of the sets that are corrupted, which takes a pass for each corruption. attacked: by gradient. mapped:
    explained, and composites of each kind.
    """

    corrupted: int = 400
    attacked: int = 200
    mapped: int = 200


class Evaluation:
    """A release and the data that it is scored on. What several steps need is computed once.

    embeddings: of the images in fp32, where the backbone is one whose embeddings are kept.
    """

    def __init__(
        self,
        release: Path,
        data: Path,
        wild: Path | None,
        plots: Path,
        sizes: Sizes,
        workers: int = 1,
        embeddings: Embeddings | None = None,
    ) -> None:
        self.embeddings = embeddings
        self.release, self.data, self.wild, self.sizes, self.workers = release, data, wild, sizes, workers
        self.model = Model(release, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        self.engine = fp32_engine(self.model, cores=os.cpu_count() or 1)
        self.seed = self.model.config.training.seed if self.model.config.training else 0
        self.plots = plots / self.model.config.version
        self.plots.mkdir(parents=True, exist_ok=True)

    @functools.cached_property
    def records(self) -> list[Record]:
        """All of the data set."""
        return read_artifact(self.data)

    @functools.cached_property
    def parts(self) -> dict[str, list[Record]]:
        """The data set by split."""
        return split(self.records, self.seed)

    @functools.cached_property
    def test_logits(self) -> Logits:
        """The model's logits on the test split."""
        if self.embeddings:
            return self.embeddings.logits(self.model, self.parts["test"])
        return predict(self.engine, self.parts["test"], workers=self.workers)

    @functools.cached_property
    def wild_records(self) -> list[Record]:
        """The wild set; empty without one."""
        return read_wild(self.wild) if self.wild else []

    def conditions(self, split_name: str = "test") -> dict[str, Any]:
        """Return what metrics on a part of the data set depend on."""
        return conditions(self.data, self.records, split_name, self.seed, self.engine)

    def wild_conditions(self, part: str) -> dict[str, Any]:
        """Return what metrics on the wild set depend on."""
        assert self.wild
        return conditions(self.wild, self.wild_records, part, None, self.engine)

    def scored(self, task: str) -> tuple[list[Record], np.ndarray, np.ndarray]:
        """Return the test images that have a label for a task, their calibrated probabilities, and the labels."""
        records = self.parts["test"]
        labels = np.array([label_of(record, task) for record in records])
        chosen = labels != NO_LABEL
        probabilities = probabilities_of(self.model, task, self.test_logits[task][chosen])
        return [record for record, keep in zip(records, chosen, strict=True) if keep], probabilities, labels[chosen]

    def sample(self, records: Sequence[Record], count: int) -> list[Record]:
        """Return at most `count` images, half of each class, the same every time."""
        rng = random.Random(self.seed)
        by_label = [[record for record in records if label_of(record, TASK) == label] for label in (0, 1)]
        return [record for part in by_label for record in rng.sample(part, min(count // 2, len(part)))]

    def sampled_sets(self, count: int) -> dict[str, tuple[list[Record], dict[str, Any]]]:
        """Return samples of the test split and of the reported half of the wild set, with their conditions."""
        sets = {"test": (self.sample(self.parts["test"], count), self.conditions())}
        if self.wild:
            reported = [record for record in self.wild_records if wild_half(record) == "reported"]
            sets["wild"] = (self.sample(reported, count), self.wild_conditions("reported"))
        return sets


def test(evaluation: Evaluation) -> dict[str, Any]:
    """Score the test split: `test`, and `data`, which describes the data set."""
    section: dict[str, Any] = {"conditions": evaluation.conditions()}
    curves = {}
    for task, head in evaluation.model.config.heads.items():
        records, probabilities, labels = evaluation.scored(task)
        section[task] = task_metrics(evaluation.model, task, evaluation.parts["test"], evaluation.test_logits[task])
        confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
        curves[task] = (confidence, correct)
        folder = evaluation.plots
        write_predictions(folder / f"predictions_test_{task}.csv", records, probabilities, labels, head.classes)
        plots.confusion(folder / f"confusion_{task}.svg", section[task]["confusion"], head.classes, task)
        plots.calibration(folder / f"calibration_{task}.svg", confidence, correct, task)
        if len(head.classes) == 2:
            plots.roc(folder / f"roc_{task}.svg", {"test": (labels, probabilities[:, 1])})
    plots.coverage_risk(evaluation.plots / "coverage_risk.svg", curves)
    return {"data": data_counts(evaluation.data, evaluation.records, evaluation.parts), "test": section}


def wild(evaluation: Evaluation) -> dict[str, Any]:
    """Score the wild set: `wild`. Raises ValueError without one."""
    if not evaluation.wild:
        raise ValueError("the step wild needs --wild")
    records, model = evaluation.wild_records, evaluation.model
    logits = predict(evaluation.engine, records, workers=evaluation.workers)
    for task, values in logits.items():
        labels = np.array([label_of(record, task) for record in records])
        probabilities = probabilities_of(model, task, values)
        path = evaluation.plots / f"predictions_wild_{task}.csv"
        write_predictions(path, records, probabilities, labels, model.config.heads[task].classes)
    metrics = wild_metrics(model, records, logits, saved_kinds(evaluation.wild))
    return {"wild": {"conditions": evaluation.wild_conditions("all and halves")} | metrics}


def degraded(evaluation: Evaluation) -> dict[str, Any]:
    """Score corrupted images: `degraded` and `stability`."""
    sections: dict[str, dict[str, Any]] = {"degraded": {}, "stability": {}}
    for name, (records, described) in evaluation.sampled_sets(evaluation.sizes.corrupted).items():
        for section, measure in (("degraded", degraded_metrics), ("stability", stability_metrics)):
            sections[section][name] = {
                "conditions": described,
                **measure(evaluation.engine, records, evaluation.workers),
            }
    accuracies = {
        name: {corruption: row["balanced_accuracy"] for corruption, row in part["corruptions"].items()}
        for name, part in sections["degraded"].items()
    }
    plots.lines(evaluation.plots / "degraded.svg", accuracies, "Degraded images", "balanced accuracy")
    return sections


def attack(evaluation: Evaluation) -> dict[str, Any]:
    """Attack the model with and without its weights: `attacks`."""
    test_records, sizes = evaluation.parts["test"], evaluation.sizes
    section = {
        "conditions": evaluation.conditions(),
        "gradient": attacks.gradient_attack(evaluation.model, evaluation.sample(test_records, sizes.attacked)),
        "evasion": attacks.evasion(
            evaluation.engine, evaluation.sample(test_records, sizes.corrupted), evaluation.workers
        ),
    }
    accuracy = {f"{eps}/255": row["accuracy"]["value"] for eps, row in section["gradient"].items()}
    plots.lines(evaluation.plots / "gradient.svg", {TASK: accuracy}, "Projected gradient descent", "accuracy")
    return {"attacks": section}


def shortcuts(evaluation: Evaluation) -> dict[str, Any]:
    """Look for shortcuts in the data, and score matched pairs: `shortcuts`."""
    train, (records, probabilities, _) = evaluation.parts["train"], evaluation.scored(TASK)
    return {
        "shortcuts": {
            "conditions": evaluation.conditions(),
            "file_only_balanced_accuracy": {
                name: file_only_balanced_accuracy(train, records, evaluation.seed, with_length=with_length)
                for name, with_length in (("size, format, quantisation", False), ("these and the length", True))
            },
            "pairs": pair_metrics(records, probabilities[:, 1]),
        }
    }


def failures(evaluation: Evaluation) -> dict[str, Any]:
    """Find where the model fails: `failures`."""
    section: dict[str, Any] = {"conditions": evaluation.conditions()}
    for task, head in evaluation.model.config.heads.items():
        records, probabilities, labels = evaluation.scored(task)
        section[task] = failure_metrics(records, probabilities, labels)
        for kind, rows in section[task].items():
            plots.bars(evaluation.plots / f"{kind}_{task}.svg", rows, f"{task} by {kind}", "accuracy on test, 95 %")
        worst = most_confident_errors(probabilities, labels, _ERRORS)
        contact_sheet(evaluation.plots / f"errors_{task}.png", records, probabilities, worst, head.classes)
    return {"failures": section}


def maps(evaluation: Evaluation) -> dict[str, Any]:
    """Measure the heat maps: `maps`."""
    count = evaluation.sizes.mapped
    methods = map_metrics(evaluation.engine, evaluation.parts["test"], count, evaluation.seed)
    return {"maps": {"conditions": evaluation.conditions(), "count": count, "methods": methods}}


def golden(evaluation: Evaluation) -> dict[str, Any]:
    """Score the images that the repository carries: `golden`, by which anybody can check a release.

    Public-domain photographs and procedural images: the section measures no quality.
    """
    records = read_artifact(GOLDEN)
    logits = predict(evaluation.engine, records)
    section = {"conditions": conditions(GOLDEN, records, "all", None, evaluation.engine)}
    return {"golden": section | {task: task_metrics(evaluation.model, task, records, logits[task]) for task in logits}}


STEPS: dict[str, Callable[[Evaluation], dict[str, Any]]] = {
    "test": test,
    "wild": wild,
    "degraded": degraded,
    "attacks": attack,
    "shortcuts": shortcuts,
    "failures": failures,
    "maps": maps,
    "golden": golden,
}


def data_counts(root: Path, records: Sequence[Record], parts: dict[str, list[Record]]) -> dict[str, Any]:
    """Return the images by family and by split, and the sources by kind of licence (`licence_kind`)."""
    licences: dict[str, str] = {}
    table = root / "sources.csv"
    if table.exists():
        with table.open(newline="") as file:
            licences = {row["source"]: row.get("license") or "" for row in csv.DictReader(file)}
    sources = {record.source for record in records}
    return {
        "images_by_family": dict(Counter(record.family for record in records).most_common()),
        "images_by_split": {name: len(part) for name, part in parts.items()},
        "sources_by_licence": dict(Counter(licence_kind(licences.get(source, "")) for source in sources).most_common()),
    }


def licence_kind(licence: str) -> str:
    """Return what a licence, as sources.csv words it, allows: one of three kinds."""
    if re.match(r"$|unknown|none|see repo$", licence):
        return "unknown"
    if re.search(r"\bNC\b|non-commercial|Research|NVIDIA Source Code|copyright", licence):
        return "research or non-commercial use alone"
    return "stated, often for the repository's code alone"


def write_predictions(
    path: Path, records: Sequence[Record], probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> None:
    """Write one line an image: source, file, label and calibrated probabilities (N, classes)."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("source", "file", "label", *classes))
    for record, label, row in zip(records, labels, probabilities, strict=True):
        name = "" if label == NO_LABEL else classes[label]
        writer.writerow((record.source, record.path.name, name, *(f"{value:.5f}" for value in row)))
    replace_bytes(path, buffer.getvalue().encode())


def run(evaluation: Evaluation, steps: Sequence[str]) -> None:
    """Run steps of STEPS, writing each one's sections as it ends, and then the documents."""
    for step in steps:
        write_sections(evaluation.release, STEPS[step](evaluation))
    write_documents(evaluation.release)


def add_size_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of which `sizes_of` makes the sizes."""
    parser.add_argument("--corrupted", type=int, default=Sizes.corrupted, help="images of a set that are corrupted")
    parser.add_argument("--attacked", type=int, default=Sizes.attacked, help="images attacked by gradient")
    parser.add_argument("--mapped", type=int, default=Sizes.mapped, help="images explained, composites of each kind")


def sizes_of(arguments: argparse.Namespace) -> Sizes:
    """Return the sizes that parsed arguments name."""
    return Sizes(arguments.corrupted, arguments.attacked, arguments.mapped)


def main() -> None:
    """Report on a release from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", type=Path, required=True, help="the release's folder, model_store/VERSION")
    parser.add_argument("--data", type=Path, required=True, help="the ArtiFact root that it was trained on")
    parser.add_argument("--wild", type=Path, help="a folder of whole images with its labels.csv")
    parser.add_argument("--only", nargs="+", choices=STEPS, help="steps to run; all that have their data by default")
    parser.add_argument("--out", type=Path, default=PLOTS, help="where plots and predictions go")
    add_size_arguments(parser)
    parser.add_argument("--workers", type=int, default=1, help="threads that decode")
    arguments = parser.parse_args()
    steps = arguments.only or [step for step in STEPS if step != "wild" or arguments.wild]
    if "wild" in steps and not arguments.wild:
        parser.error("the step wild needs --wild")
    evaluation = Evaluation(
        arguments.release, arguments.data, arguments.wild, arguments.out, sizes_of(arguments), arguments.workers
    )
    run(evaluation, steps)
    print(f"Report: {arguments.release / 'REPORT.md'}; plots, predictions, errors: {evaluation.plots}")


if __name__ == "__main__":
    main()
