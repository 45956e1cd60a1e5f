"""Train without some groups of generators or real images, and score on just those.

| model | trained on | calibrated on | scored on |
|---|---|---|---|
| the release | train split | calibration split, held-out predictions of the runs, wild's choosing half | test split |
| a run | train split without its groups | its calibration split, the other runs' predictions | its groups |

Of images that were left out of training every split is new. A recipe is chosen by the part "validation" (the train and
validation splits of the groups) and reported by the part "test" (calibration and test splits); no image that a run is
scored on takes part in its calibration. A finished run is not trained again, an interrupted one continues.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch

from evaluation.held_out import HeldOutGroup
from evaluation.predict import Logits, fp32_engine, predict
from imagetrust.models.config import TASKS, Thresholds
from imagetrust.models.model import Model
from imagetrust.runtime.engine import Engine
from training import head
from training.calibration import (
    Predictions,
    fit_open_temperature,
    fit_real_bias,
    probability_generated,
    verdict_thresholds,
    with_real_bias,
)
from training.data import NO_LABEL, Record, absent_classes, label_of, split, split_of
from training.embeddings import Embeddings
from training.groups import GROUPS, RUNS, Group, without
from training.recipe import Recipe
from training.train import train

PARTS = {"validation": ("train", "validation"), "test": ("calibration", "test")}


@dataclass(frozen=True)
class HeldOut:
    """What a model predicts of a group that was left out of its training, and of known images of the other class."""

    group: Group
    records: list[Record]
    logits: dict[str, np.ndarray]

    def predictions(self, task: str, besides: frozenset[Path] = frozenset()) -> Predictions:
        """Return logits and labels of the images that have one for a task, those of `besides` left aside."""
        return labelled_predictions(task, self.records, self.logits, besides)

    @property
    def is_left_out(self) -> np.ndarray:
        """(N,): which images are of the group."""
        return np.array([self.group.is_tested(record) for record in self.records])


def labelled_predictions(
    task: str, records: list[Record], logits: dict[str, np.ndarray], besides: frozenset[Path] = frozenset()
) -> Predictions:
    """Return logits (N, classes) and labels (N,) of the records that have a label for a task."""
    labels = np.array([label_of(record, task) for record in records])
    kept = (labels != NO_LABEL) & np.array([record.path not in besides for record in records])
    return logits[task][kept], labels[kept]


def partly_real(records: list[Record]) -> frozenset[Path]:
    """Return the images whose label is a decision: heads are not fitted to them, and calibration leaves them aside."""
    return frozenset(record.path for record in records if record.is_partly_real)


def scored_records(records: list[Record], known: list[Record], group: Group, part: str, seed: int) -> list[Record]:
    """Return what a group is scored on: its left-out images, and of known ones those of the other class and the part.

    Empty where the data have no image of one of the two classes.
    """
    left_out = [r for r in records if group.is_tested(r) and split_of(r.group, seed) in PARTS[part]]
    other_class = [r for r in split(known, seed)[part] if group.is_real != (label_of(r, "authenticity") == 0)]
    return left_out + other_class if left_out and other_class else []


class HeldOutRun:
    """A finished training without some groups of `records`, with its heads fitted."""

    def __init__(
        self,
        folder: Path,
        names: tuple[str, ...],
        records: list[Record],
        seed: int,
        workers: int,
        embeddings: Embeddings | None = None,
    ) -> None:
        self.groups = [GROUPS[name] for name in names]
        self.model = Model(folder, _device(), calibrated=False)
        self.records, self.seed, self.workers, self.embeddings = records, seed, workers, embeddings
        self.known = without(records, names)

    @functools.cached_property
    def engine(self) -> Engine:
        """What scores in fp32."""
        return fp32_engine(self.model)

    def calibration(self) -> tuple[list[Record], dict[str, np.ndarray]]:
        """Return the calibration split of what it was trained on, and its logits."""
        chosen = split(self.known, self.seed)["calibration"]
        return chosen, self.logits(chosen)

    def logits(self, records: list[Record]) -> Logits:
        """Return its logits of images, in fp32."""
        if self.embeddings:
            return self.embeddings.logits(self.model, records)
        return predict(self.engine, records, workers=self.workers)

    def held_out(self, part: str) -> list[HeldOut]:
        """Return its predictions of that part of each group of which the data have images; the others are named."""
        asked = {group: scored_records(self.records, self.known, group, part, self.seed) for group in self.groups}
        for group in [group for group, chosen in asked.items() if not chosen]:
            print(f"{group.name}: the data have no image of it, or none to hold against it; left out")
            del asked[group]
        # Groups share the images of the other class: each is scored once.
        together = list({record.path: record for chosen in asked.values() for record in chosen}.values())
        if not together:
            return []
        logits = self.logits(together)
        row_of = {record.path: row for row, record in enumerate(together)}
        return [
            HeldOut(group, chosen, {task: rows[[row_of[r.path] for r in chosen]] for task, rows in logits.items()})
            for group, chosen in asked.items()
        ]


def train_runs(
    recipe: Recipe, data: Path, out: Path, records: list[Record], workers: int, embeddings: Embeddings | None = None
) -> list[HeldOutRun]:
    """Train and fit the runs of training.groups.RUNS that are not finished, and return all of them.

    embeddings: where no training changes the backbone, which all runs then share.
    Runs whose groups the data lack are left out, and those without which they lack a class, which are named. Raises
    RecipeError where a folder holds another recipe's run.
    """
    runs = []
    for number, names in enumerate(RUNS):
        present = tuple(name for name in names if any(GROUPS[name].is_tested(record) for record in records))
        if not present:
            continue
        rest = split(without(records, present), recipe.seed)["train"]
        if absent := [name for task in TASKS for name in absent_classes(rest, task)]:
            print(f"{', '.join(present)}: not trained, since without them no image is {', '.join(absent)}")
            continue
        folder = out / f"run_{number}"
        train(msgspec.structs.replace(recipe, held_out=present), data, folder, workers)
        fitted = head.fit(folder, data, workers, embeddings)
        runs.append(HeldOutRun(fitted, present, records, recipe.seed, workers, embeddings))
    return runs


@dataclass(frozen=True)
class Scaling:
    """How a task's logits become probabilities. real_bias: is added to the logit of real images."""

    temperature: float
    real_bias: float

    def probability_generated(self, logits: np.ndarray) -> np.ndarray:
        """Return (N,) the calibrated probability of being generated, from authenticity's logits (N, 2)."""
        return probability_generated(with_real_bias(logits, self.real_bias), self.temperature)


def calibrate(
    known: Predictions, held_out: list[tuple[Group, Predictions]], wild: Predictions | None = None
) -> Scaling:
    """Return the temperature and the bias of a task.

    known: a model's predictions on its calibration split. held_out: other models' of what those had not seen; the
    bias is fitted to the left-out images of the random folds, or of all groups where there are no folds, as much as to
    known ones. wild: the model's predictions of whole images, which count among these.
    """
    temperature = fit_open_temperature(known, [predictions for _, predictions in held_out] + ([wild] if wild else []))
    unseen = unseen_images(held_out, wild)
    return Scaling(temperature, fit_real_bias([known, unseen] if unseen else [known], temperature))


def find_thresholds(
    scaling: Scaling,
    known: Predictions,
    held_out: list[tuple[Group, Predictions]],
    wild: Predictions | None = None,
) -> tuple[Thresholds, bool]:
    """Return authenticity's thresholds, and whether these could be shown to hold: on the images of `calibrate`."""
    sets = [known, *([unseen] if (unseen := unseen_images(held_out, wild)) else [])]
    (generated, labels), *others = [(scaling.probability_generated(logits), labels) for logits, labels in sets]
    return verdict_thresholds(generated, labels, *others)


def unseen_images(held_out: list[tuple[Group, Predictions]], wild: Predictions | None) -> Predictions | None:
    """Return predictions of images of unknown sources: left-out ones of the random folds, and whole ones."""
    folds = [pair for pair in held_out if pair[0].fold is not None] or held_out
    left_out = [(logits, labels, (labels == 0) == group.is_real) for group, (logits, labels) in folds]
    sets = [(logits[chosen], labels[chosen]) for logits, labels, chosen in left_out] + ([wild] if wild else [])
    if not sets:
        return None
    logits, labels = (np.concatenate(parts) for parts in zip(*sets, strict=True))
    return logits, labels


def score_runs(runs: list[HeldOutRun], part: str) -> dict[str, HeldOutGroup]:
    """Return what evaluation.held_out scores: each group, calibrated as the release is but without any image scored."""
    calibrating = [run.held_out("validation") for run in runs]
    groups: dict[str, HeldOutGroup] = {}
    for number, run in enumerate(runs):
        asked = calibrating[number] if part == "validation" else run.held_out(part)
        besides = frozenset(record.path for one in asked for record in one.records) | partly_real(runs[number].records)
        elsewhere = [
            (one.group, one.predictions("authenticity", besides=besides))
            for other, predicted in enumerate(calibrating)
            if other != number
            for one in predicted
        ]
        known = labelled_predictions("authenticity", *run.calibration(), besides=besides)
        elsewhere = [pair for pair in elsewhere if len(pair[1][1])]
        scaling = calibrate(known, elsewhere)
        thresholds, _ = find_thresholds(scaling, known, elsewhere)
        for one in asked:
            logits, labels = one.predictions("authenticity")
            generated = scaling.probability_generated(logits)
            sources = None if one.group.fold is None else np.array([record.source for record in one.records])
            groups[one.group.name] = HeldOutGroup(
                one.group.reason, generated, labels, one.is_left_out, thresholds, sources
            )
    return groups


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
