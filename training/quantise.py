"""Make a model fast, and measure what that changes: `python -m training.quantise --data ROOT --model FOLDER`.

Quantises the network to int8 with training images, finds on the calibration split the margin within which an answer is
computed again in fp32, and compares with fp32 on the validation split and, with the finished runs of training.held_out,
on generators that those had not seen. The worse task and absolute changes decide: nothing cancels. Everything
lands beside the weights; an archive takes it only where the gate passes (imagetrust.runtime.precision_gate).
"""

import argparse
import copy
import logging
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from tqdm import tqdm

from evaluation.metrics import expected_calibration_error
from evaluation.predict import ParallelRunner, predict
from imagetrust.errors import RequestError
from imagetrust.files import file_sha256, replace_bytes
from imagetrust.images.decode import decode
from imagetrust.models.config import TASKS, Head
from imagetrust.models.model import Model
from imagetrust.runtime.engine import Engine
from imagetrust.runtime.openvino import openvino, save_network, to_openvino
from imagetrust.runtime.precision_gate import EXACT_NETWORK, INT8_NETWORK, Gate
from imagetrust.runtime.processor import processor_flags
from imagetrust.runtime.torch import PixelNetwork
from training.data import NO_LABEL, DataError, Record, data_digest, label_of, read_artifact, split
from training.embeddings import Embeddings
from training.groups import RUNS
from training.held_out import HeldOut, HeldOutRun
from training.recipe import RecipeError, read_recipe

import nncf  # isort: skip (after openvino, which imagetrust.runtime.openvino keeps from reporting itself)

IMAGES = 300  # of the training split, that quantisation sees; NNCF's own default
EXACT_CONVOLUTIONS = 3  # at the network's beginning, that stay in fp32: there the rounding costs most
MAX_CHANGED = 0.001  # share of the calibration images that may change outside the margin; of others the gate has 0.005
HELD_OUT = 400  # images of a held-out group at most: one of them alone is 0.00125 of balanced accuracy

Views = list[np.ndarray]
Tensors = dict[str, torch.Tensor]  # by task: logits (N, classes)


def views_of(records: Sequence[Record], model: Model) -> Views:
    """Return what serving makes of the records' files: (views, size, size, 3) uint8 each."""
    preprocessing, images = model.config.preprocessing, []
    for record in tqdm(records, desc="decoding", mininterval=5):
        try:
            decoded = decode(record.path.read_bytes(), preprocessing.min_side())
        except (OSError, RequestError) as error:
            raise DataError(f"{record.path}: {error}") from error
        images.append(preprocessing.pixels(decoded.image))
    return images


def quantised(model: openvino.Model, images: Views, transformer: bool) -> openvino.Model:
    """Return a network in int8, its ranges taken from images."""
    convolutions = [
        node.get_friendly_name()
        for node in model.get_ordered_ops()
        if node.get_type_name() in ("Convolution", "GroupConvolution")
    ]
    return nncf.quantize(
        model,
        nncf.Dataset([views[:1] for views in images]),
        subset_size=len(images),
        preset=nncf.QuantizationPreset.PERFORMANCE,
        model_type=nncf.ModelType.TRANSFORMER if transformer else None,
        ignored_scope=nncf.IgnoredScope(names=convolutions[:EXACT_CONVOLUTIONS]),
    )


class Precisions:
    """A model's network in fp32 and in each fast precision that this processor computes, and what they answer.

    folder: for their files. kept: embeddings in fp32, where the backbone is one whose embeddings are kept; those of the
    other precisions are kept beside them.
    """

    def __init__(
        self,
        model: Model,
        training: Sequence[Record],
        seed: int,
        folder: Path,
        kept: Embeddings | None = None,
        workers: int = 1,
    ) -> None:
        chosen = random.Random(seed).sample(list(training), min(IMAGES, len(training)))
        size = model.config.preprocessing.size
        network = to_openvino(PixelNetwork(model.network, model.config.preprocessing), size)
        save_network(network, folder / EXACT_NETWORK)
        networks = dict.fromkeys(("fp32", "bf16", "int8"), EXACT_NETWORK)
        if model.backbone.quantised:
            int8 = quantised(network, views_of(chosen, model), model.backbone.layout == "tokens")
            save_network(int8, folder / INT8_NETWORK)
            networks["int8"] = INT8_NETWORK
        self.model, self.workers = model, workers
        self._runners: dict[str, ParallelRunner] = {}
        for precision, name in networks.items():
            try:
                self._runners[precision] = ParallelRunner(folder / name, precision, torch.get_num_threads())
            except RuntimeError as error:
                print(f"{precision} is not measured: {error}")
        self.fast = tuple(precision for precision in self._runners if precision != "fp32")
        self._kept = {"fp32": kept} | {one: self._beside(kept, one) for one in self.fast} if kept else {}

    def _beside(self, kept: Embeddings, precision: str) -> Embeddings:
        folder = kept.folder.with_name(f"embeddings_{precision}") if kept.folder else None
        return Embeddings(self._runners[precision], kept.preprocessing, folder, kept.workers)

    def logits(self, precision: str, records: Sequence[Record], model: Model | None = None) -> Tensors:
        """Return the logits (N, classes) of each task in a precision.

        model: whose heads, where it is not the one that this was made of but shares its kept backbone.
        """
        model = model or self.model
        if self._kept:
            logits = self._kept[precision].logits(model, records)
        else:
            engine = Engine(f"openvino {precision}", model, self._runners[precision])
            logits = predict(engine, records, workers=self.workers)
        return {task: torch.from_numpy(values) for task, values in logits.items()}


def answers(model: Model, task: str, logits: torch.Tensor) -> list[tuple[int, str]]:
    """Return what a caller acts on, for each image: the label, and the verdict where the task gives one."""
    probabilities = model.probabilities(task, logits)
    thresholds = model.config.heads[task].thresholds
    verdicts = [thresholds.verdict(row) if thresholds else "" for row in probabilities[:, 1].tolist()]
    return list(zip(probabilities.argmax(1).tolist(), verdicts, strict=True))


def find_margin(model: Model, task: str, exact: torch.Tensor, fast: torch.Tensor) -> float:
    """Return the smallest margin outside of which at most MAX_CHANGED of the images get another answer."""
    pairs = zip(answers(model, task, exact), answers(model, task, fast), strict=True)
    changed = torch.tensor([one != other for one, other in pairs])
    needed = torch.where(changed, model.margin(task, fast), 0.0).sort(descending=True).values
    # A hundredth more, since an answer at the margin's border stays outside.
    return round(float(needed[int(MAX_CHANGED * len(needed))]) + 0.01, 4)


def compare(model: Model, task: str, exact: torch.Tensor, fast: torch.Tensor, labels: np.ndarray) -> dict[str, float]:
    """Return how the metrics of a task change from exact to fast logits (N, classes)."""
    found = []
    for logits in (exact, fast):
        probabilities = model.probabilities(task, logits).numpy()
        correct = probabilities.argmax(1) == labels
        recalls = [correct[labels == label].mean() for label in np.unique(labels)]
        found.append((float(np.mean(recalls)), expected_calibration_error(probabilities.max(1), correct)))
    changed = [one != two for one, two in zip(answers(model, task, exact), answers(model, task, fast), strict=True)]
    return {
        "balanced_accuracy": round(found[0][0], 5),
        "balanced_accuracy_change": round(found[1][0] - found[0][0], 5),
        "verdicts_changed": round(float(np.mean(changed)), 5),
        "calibration_error_change": round(found[1][1] - found[0][1], 5),
    }


def margins_of(
    precisions: Precisions, calibration: Sequence[Record], model: Model | None = None
) -> dict[str, dict[str, float]]:
    """Return the margin of each fast precision and task. model: as for Precisions.logits."""
    model = model or precisions.model
    exact = precisions.logits("fp32", calibration, model)
    margins = {}
    for precision in precisions.fast:
        fast = precisions.logits(precision, calibration, model)
        margins[precision] = {task: find_margin(model, task, exact[task], fast[task]) for task in TASKS}
    return margins


def with_margins(model: Model, margins: dict[str, float], exact: Tensors, fast: Tensors) -> Tensors:
    """Return what an engine gives: the exact logits where an answer is close to changing, else the fast ones."""
    far = torch.stack([model.margin(task, fast[task]) >= margins[task] for task in TASKS]).all(0)
    return {task: torch.where(far[:, None], fast[task], exact[task]) for task in TASKS}


def calibrated_alike(model: Model, heads: dict[str, Head]) -> Model:
    """Return a model that has not been calibrated with another's temperatures, biases and thresholds."""
    alike = copy.copy(model)
    alike.config = msgspec.structs.replace(model.config, heads=heads)
    alike.heads = copy.deepcopy(model.heads)
    for task, head in alike.heads.items():
        head.bias.data[0] += heads[task].real_bias
    return alike


def sample_held_out(one: HeldOut, seed: int) -> list[Record]:
    """Return the images that a group is scored on, at most HELD_OUT of its own, the same every time."""
    own = [record for record in one.records if one.group.is_tested(record)]
    others = [record for record in one.records if not one.group.is_tested(record)]
    return random.Random(seed).sample(own, min(HELD_OUT, len(own))) + others


def held_out_changes(
    runs: list[HeldOutRun], heads: dict[str, Head], seed: int, shared: Precisions | None = None
) -> dict[str, dict[str, float]]:
    """Return by precision and group: the change of balanced accuracy on generators that a run had not seen.

    Each run's network is quantised and given its own margin, as the released one is; so it is given the released
    model's calibration too, which says where an answer changes. Its own description has none yet.
    shared: the released model's network, where the runs have the same.
    """
    changes: dict[str, dict[str, float]] = {}
    for run in runs:
        model = calibrated_alike(run.model, heads)
        parts = split(run.known, seed)
        with tempfile.TemporaryDirectory(prefix="imagetrust-quantise-") as folder:
            precisions = shared or Precisions(model, parts["train"], seed, Path(folder), workers=run.workers)
            margins = margins_of(precisions, parts["calibration"], model)
            scored = {one.group.name: one for one in run.held_out("validation") if not one.group.is_real}
            for name, one in scored.items():
                chosen = sample_held_out(one, seed)
                exact = precisions.logits("fp32", chosen, model)
                labels = np.array([label_of(record, "authenticity") for record in chosen])
                for precision in precisions.fast:
                    fast = precisions.logits(precision, chosen, model)
                    served = with_margins(model, margins[precision], exact, fast)
                    compared = compare(model, "authenticity", exact["authenticity"], served["authenticity"], labels)
                    changes.setdefault(precision, {})[name] = compared["balanced_accuracy_change"]
    return changes


def quantise(folder: Path, data: Path, seed: int, runs: list[HeldOutRun]) -> Gate:
    """Write the quantised network and the gate of the model in a folder, and return the gate."""
    nncf.set_log_level(logging.ERROR)
    records = read_artifact(data)
    parts, model = split(records, seed), Model(folder)
    kept = runs[0].embeddings if runs else None
    metrics: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="imagetrust-quantise-") as scratch:
        precisions = Precisions(model, parts["train"], seed, Path(scratch), kept)
        changes = held_out_changes(runs, model.config.heads, seed, precisions if kept else None)
        margins, validation = margins_of(precisions, parts["calibration"]), parts["validation"]
        exact = precisions.logits("fp32", validation)
        for precision in precisions.fast:
            plain = precisions.logits(precision, validation)
            fast = with_margins(model, margins[precision], exact, plain)
            tasks: dict[str, dict[str, Any]] = {}
            for task in TASKS:
                labels = np.array([label_of(record, task) for record in validation])
                known = torch.from_numpy(labels != NO_LABEL)
                again = model.margin(task, plain[task]) < margins[precision][task]
                arguments = (model, task, exact[task][known])
                tasks[task] = {
                    "images": int(known.sum()),
                    "computed_again": round(float(again.float().mean()), 4),
                    **compare(*arguments, fast[task][known], labels[known.numpy()]),
                    "without_margin": compare(*arguments, plain[task][known], labels[known.numpy()]),
                }
            metrics[precision] = {
                name: max((tasks[task][name] for task in TASKS), key=abs)
                for name in ("balanced_accuracy_change", "verdicts_changed", "calibration_error_change")
            } | {"tasks": tasks}
            if changes.get(precision):
                absolute = [abs(change) for change in changes[precision].values()]
                metrics[precision]["held_out_balanced_accuracy_change"] = round(float(np.mean(absolute)), 5)
                metrics[precision]["held_out_worst_change"] = max(absolute)
                metrics[precision]["held_out_groups"] = changes[precision]
        files = {}
        for name in (INT8_NETWORK, INT8_NETWORK.replace(".xml", ".bin")) if model.backbone.quantised else ():
            replace_bytes(folder / name, (Path(scratch) / name).read_bytes())
            files[name] = file_sha256(folder / name)
    gate = Gate(
        weights_sha256=model.config.weights_sha256,
        margins=margins,
        metrics=metrics,
        files=files,
        conditions={
            "data": data.name,
            "data_digest": data_digest(records, data),
            "seed": seed,
            "processor": sorted(processor_flags()),
            "openvino": openvino.get_version(),
            "nncf": nncf.__version__,
            "torch": str(torch.__version__),
        },
    )
    # What missed the gate is measured, said and not offered.
    gate = msgspec.structs.replace(gate, margins=gate.passed())
    gate.write(folder)
    for precision, values in metrics.items():
        print(f"{precision}: {'; '.join(gate.failures(precision)) or 'passed'}\n  {values}")
    return gate


def main() -> None:
    """Quantise from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the ArtiFact root that the model was trained on")
    parser.add_argument("--model", type=Path, required=True, help="a release's folder")
    parser.add_argument("--held-out", type=Path, help="the folder of its finished held-out runs")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    try:
        training = Model(arguments.model).config.training
        if training is None:
            raise ValueError(f"{arguments.model} does not say how it was trained")
        runs = finished_runs(arguments.held_out, read_artifact(arguments.data), arguments.workers)
        gate = quantise(arguments.model, arguments.data, training.seed, runs)
    except (ValueError, DataError, RecipeError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
    print("Next: make archives" if gate.margins else "No precision passed: the model is served in fp32.")


def finished_runs(folder: Path | None, records: list[Record], workers: int) -> list[HeldOutRun]:
    """Return the held-out runs in a folder. Raises RecipeError where they are not of one recipe."""
    if folder is None:
        return []
    found = []
    for number in range(len(RUNS)):
        run = folder / f"run_{number}" / "fitted"
        if run.exists():
            found.append((run, read_recipe(run / "recipe.json")))
    for run, recipe in found[1:]:
        if changes := found[0][1].changes(recipe, besides=("held_out",)):
            raise RecipeError(f"{found[0][0]} and {run} are of different recipes: {'; '.join(changes)}")
    return [HeldOutRun(run, recipe.held_out, records, recipe.seed, workers) for run, recipe in found]


if __name__ == "__main__":
    main()
