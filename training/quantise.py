"""Make a model fast, and measure what that changes: `python -m training.quantise --data ROOT --model FOLDER`.

Quantises the network to int8 with training images, finds on the calibration split the margin within which an answer is
computed again in fp32, and compares with fp32 on the validation split and, with the finished runs of training.held_out,
on generators that those had not seen. The worse task and absolute changes decide: nothing cancels. Everything
lands beside the weights; an archive takes it only where the gate passes (imagetrust.runtime.precision_gate).
"""

import argparse
import logging
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from tqdm import tqdm

from evaluation.metrics import expected_calibration_error
from evaluation.predict import Logits, predict
from imagetrust.errors import RequestError
from imagetrust.files import file_sha256, replace_bytes
from imagetrust.images.decode import decode
from imagetrust.models.config import TASKS, Head
from imagetrust.models.model import Model
from imagetrust.runtime.engine import Engine
from imagetrust.runtime.openvino import OpenVinoRunner, openvino, save_network, to_openvino
from imagetrust.runtime.precision_gate import EXACT_NETWORK, INT8_NETWORK, Gate
from imagetrust.runtime.processor import processor_flags
from imagetrust.runtime.torch import PixelNetwork
from training.data import NO_LABEL, DataError, Record, data_digest, label_of, read_artifact, split
from training.embeddings import Embeddings
from training.groups import RUNS
from training.held_out import HeldOutRun
from training.recipe import RecipeError, read_recipe

import nncf  # isort: skip (after openvino, which imagetrust.runtime.openvino keeps from reporting itself)

IMAGES = 300  # of the training split, that quantisation sees; NNCF's own default
EXACT_CONVOLUTIONS = 3  # at the network's beginning, that stay in fp32: there the rounding costs most
MAX_CHANGED = 0.003  # share of the calibration images that may change outside the margin: the gate allows 0.005

Views = list[np.ndarray]


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
    """A model's network in fp32 and in each fast precision that this processor computes, in a temporary folder."""

    def __init__(self, model: Model, training: Sequence[Record], seed: int, folder: Path) -> None:
        chosen = random.Random(seed).sample(list(training), min(IMAGES, len(training)))
        size = model.config.preprocessing.size
        network = to_openvino(PixelNetwork(model.network, model.config.preprocessing), size)
        save_network(network, folder / EXACT_NETWORK)
        networks = {"bf16": EXACT_NETWORK}
        if model.backbone.int8:
            int8 = quantised(network, views_of(chosen, model), model.backbone.layout == "tokens")
            save_network(int8, folder / INT8_NETWORK)
            networks["int8"] = INT8_NETWORK
        threads = torch.get_num_threads()
        self.model, self.folder = model, folder
        self.exact = OpenVinoRunner(folder / EXACT_NETWORK, "fp32", threads)
        self.fast: dict[str, OpenVinoRunner] = {}
        for precision, name in networks.items():
            try:
                self.fast[precision] = OpenVinoRunner(folder / name, precision, threads)
            except RuntimeError as error:
                print(f"{precision} is not measured: {error}")

    def engine(self, precision: str, margins: dict[str, float] | None = None) -> Engine:
        """Return the engine of a precision: bare, or with margins and the exact network behind it."""
        if precision == "fp32":
            return Engine("openvino fp32", self.model, self.exact)
        if margins is None:
            return Engine(f"openvino {precision}", self.model, self.fast[precision])
        return Engine(f"openvino {precision}", self.model, self.fast[precision], self.exact, margins)


def logits_of(engine: Engine, images: Views) -> dict[str, torch.Tensor]:
    """Return the logits (N, classes) of each task."""
    scores = [engine.score([views], tuple(TASKS))[0] for views in tqdm(images, desc=engine.name, mininterval=5)]
    return {task: torch.stack([one.logits[task] for one in scores]) for task in TASKS}


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


def held_out_changes(runs: list[HeldOutRun], heads: dict[str, Head], seed: int) -> dict[str, dict[str, float]]:
    """Return by precision and group: the change of balanced accuracy on generators that a run had not seen.

    Each run's network is quantised and given its own margin, as the released one is; so it is given the released
    model's calibration too, which says where an answer changes. Its own description has none yet.
    """
    changes: dict[str, dict[str, float]] = {}
    shared: dict[str, Embeddings] = {}
    for run in runs:
        run.model.config = msgspec.structs.replace(run.model.config, heads=heads)
        parts = split(run.known, seed)
        with tempfile.TemporaryDirectory(prefix="imagetrust-quantise-") as folder:
            if run.embeddings and not shared:
                shared = _shared(Precisions(run.model, parts["train"], seed, Path(folder)), run.embeddings)
            if run.embeddings:
                fast = {precision: _with_margins(run, embeddings, parts) for precision, embeddings in shared.items()}
            else:
                precisions = Precisions(run.model, parts["train"], seed, Path(folder))
                margins = margins_of(precisions, views_of(parts["calibration"], run.model))
                fast = {
                    precision: partial(predict, precisions.engine(precision, margins[precision]), workers=run.workers)
                    for precision in precisions.fast
                }
            exact = {one.group.name: one for one in run.held_out("validation")}
            for precision, logits_of in fast.items():
                for one in run.held_out("validation", logits_of):
                    if one.group.is_real:
                        continue
                    rounded, labels = one.predictions("authenticity")
                    reference, _ = exact[one.group.name].predictions("authenticity")
                    compared = compare(
                        run.model, "authenticity", torch.from_numpy(reference), torch.from_numpy(rounded), labels
                    )
                    changes.setdefault(precision, {})[one.group.name] = compared["balanced_accuracy_change"]
    return changes


def _shared(precisions: Precisions, exact: Embeddings) -> dict[str, Embeddings]:
    """Return the embeddings by a backbone that all runs share, in each fast precision."""
    return {
        precision: Embeddings(
            runner,
            exact.preprocessing,
            exact.folder.with_name(f"embeddings_{precision}") if exact.folder else None,
            exact.workers,
        )
        for precision, runner in precisions.fast.items()
    }


def _with_margins(
    run: HeldOutRun, embeddings: Embeddings, parts: dict[str, list[Record]]
) -> Callable[[list[Record]], Logits]:
    """Return what gives a run's logits as its engine would: in a fast precision, and in fp32 within the margin."""

    def both(records: list[Record]) -> tuple[Logits, Logits]:
        return run.logits(records), embeddings.logits(run.model, records)

    exact, fast = both(parts["calibration"])
    margins = {
        task: find_margin(run.model, task, *(torch.from_numpy(logits[task]) for logits in (exact, fast)))
        for task in TASKS
    }

    def logits_of(records: list[Record]) -> Logits:
        exact, fast = both(records)
        far = np.all(
            [run.model.margin(task, torch.from_numpy(fast[task])).numpy() >= margins[task] for task in TASKS], axis=0
        )
        return {task: np.where(far[:, None], fast[task], exact[task]) for task in TASKS}

    return logits_of


def margins_of(precisions: Precisions, calibration: Views) -> dict[str, dict[str, float]]:
    """Return the margin of each precision and task."""
    exact = logits_of(precisions.engine("fp32"), calibration)
    return {
        precision: {
            task: find_margin(precisions.model, task, exact[task], fast[task])
            for fast in [logits_of(precisions.engine(precision), calibration)]
            for task in TASKS
        }
        for precision in precisions.fast
    }


def quantise(folder: Path, data: Path, seed: int, runs: list[HeldOutRun]) -> Gate:
    """Write the quantised network and the gate of the model in a folder, and return the gate."""
    nncf.set_log_level(logging.ERROR)
    records = read_artifact(data)
    parts, model = split(records, seed), Model(folder)
    changes = held_out_changes(runs, model.config.heads, seed)
    metrics: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="imagetrust-quantise-") as scratch:
        precisions = Precisions(model, parts["train"], seed, Path(scratch))
        margins = margins_of(precisions, views_of(parts["calibration"], model))
        validation = views_of(parts["validation"], model)
        exact = logits_of(precisions.engine("fp32"), validation)
        for precision in precisions.fast:
            plain = logits_of(precisions.engine(precision), validation)
            fast = logits_of(precisions.engine(precision, margins[precision]), validation)
            tasks: dict[str, dict[str, Any]] = {}
            for task in TASKS:
                labels = np.array([label_of(record, task) for record in parts["validation"]])
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
        for name in (INT8_NETWORK, INT8_NETWORK.replace(".xml", ".bin")) if model.backbone.int8 else ():
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
