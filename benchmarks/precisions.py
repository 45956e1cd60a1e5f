"""What each precision changes and saves, and what it does to look at an image's views in turn.

    python -m benchmarks.precisions --release model_store/1.3 --wild ROOT

Each way serves the whole images of the wild set one by one, on one thread, as a worker does: with what is close to
changing computed again in fp32. Its cost is what this process spent on an image after it was decoded. An image goes
through all ways before the next one does, so that what slows the machine slows all. Memory is what a process holds
alone once it has served, less what it holds without a network. No choice was made by the reported half.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import psutil
import torch
from tqdm import tqdm

from archive_scripts.prepare import BuildError, prepare
from benchmarks.cascade import TASK
from evaluation.metrics import balanced_accuracy, roc_auc
from evaluation.predict import read_views
from evaluation.wild import HALVES, read_wild, wild_half
from imagetrust.files import replace_json
from imagetrust.models.model import Model
from imagetrust.runtime.engine import CPU_PRECISIONS, Engine, choose_engine
from measuring.conditions import machine
from measuring.report import conditions_text, table
from training.data import DataError, Record, label_of

RESULTS = Path(__file__).resolve().parent / "results" / "precisions.json"
AT_ONCE, IN_TURN = "all views", "in turn"


def engines(serving: Path) -> dict[str, Engine]:
    """Return an engine for each precision to be had, with all views at once and, where settled, in turn."""
    found = {}
    for precision in [one for one in CPU_PRECISIONS if one != "auto"]:
        model = Model(serving)
        engine = choose_engine(model, precision=precision)
        if engine.name != f"openvino {precision}":
            print(f"{precision} is left out: this processor or the gate gives {engine.name}")
            continue
        plain = Model(serving)
        plain.config = msgspec.structs.replace(model.config, settled={})
        found[f"{precision}, {AT_ONCE}"] = Engine(engine.name, plain, engine.fast, engine.exact, engine.margins)
        if TASK in model.config.settled:
            found[f"{precision}, {IN_TURN}"] = engine
    return found


def serve(ways: dict[str, Engine], records: Sequence[Record]) -> dict[str, np.ndarray]:
    """Return by way (N, 4): log odds, processor seconds, views that were looked at, whether computed again."""
    preprocessing = next(iter(ways.values())).model.config.preprocessing
    rows: dict[str, list[tuple[float, ...]]] = {name: [] for name in ways}
    first = read_views(records[0], preprocessing)
    for engine in ways.values():
        engine.score([first], (TASK,))
    for record in tqdm(records, unit="image", mininterval=5):
        views = read_views(record, preprocessing)
        for name, engine in ways.items():
            began = time.process_time()
            (scores,) = engine.score([views], (TASK,))
            spent = time.process_time() - began
            real, generated = scores.logits[TASK].tolist()
            rows[name].append((generated - real, spent, scores.views, scores.recomputed))
    return {name: np.array(found) for name, found in rows.items()}


def memory_of(serving: Path, precision: str | None) -> float:
    """Return the MB that a process holds alone after it served an image in a precision; None: it serves none."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_held, (serving, precision))


def _held(serving: Path, precision: str | None) -> float:
    torch.set_num_threads(1)
    model = Model(serving)
    if precision:
        size = model.config.preprocessing.size
        engine = choose_engine(model, precision=precision)
        for runner in filter(None, (engine.fast, engine.exact)):
            runner(np.zeros((1, size, size, 3), np.uint8))
    return psutil.Process().memory_full_info().uss / 1e6


def main() -> None:
    """Read the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", type=Path, required=True)
    parser.add_argument("--wild", type=Path, required=True, help="a set of whole images")
    parser.add_argument("--images", type=int, help="of each half at most, where a trial should be short")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    conditions = machine(("torch", "openvino")) | {"release": arguments.release.name}
    try:
        records = read_wild(arguments.wild)
        halves = {half: [one for one in records if wild_half(one) == half][: arguments.images] for half in HALVES}
        chosen = [record for half in halves.values() for record in half]
        with tempfile.TemporaryDirectory(prefix="imagetrust-precisions-") as scratch:
            serving = Path(scratch) / "model"
            prepare(arguments.release, serving)
            without = memory_of(serving, None)
            ways = engines(serving)
            memory = {name.partition(",")[0]: 0.0 for name in ways}
            for precision in memory:
                memory[precision] = memory_of(serving, precision) - without
            found = serve(ways, chosen)
    except (BuildError, DataError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    labels = np.array([label_of(record, TASK) for record in chosen])
    half_of = np.array([wild_half(record) for record in chosen])
    rows, results = [], {}
    for name, values in found.items():
        result = {
            "cpu_ms": {"mean": 1000 * values[:, 1].mean(), "median": 1000 * float(np.median(values[:, 1]))},
            "views": values[:, 2].mean(),
            "computed_again": values[:, 3].mean(),
            "memory_mb": memory[name.partition(",")[0]],
            "halves": {
                half: {
                    "images": int((half_of == half).sum()),
                    "balanced_accuracy": balanced_accuracy(
                        (values[half_of == half, 0] > 0).astype(int), labels[half_of == half]
                    ),
                    "roc_auc": roc_auc(values[half_of == half, 0], labels[half_of == half]),
                }
                for half in halves
            },
        }
        results[name] = result
        scores = [f"{one['balanced_accuracy']:.4f} / {one['roc_auc']:.4f}" for one in result["halves"].values()]
        rows.append(
            (name, f"{result['cpu_ms']['mean']:.0f}", f"{result['views']:.2f}", f"{result['computed_again']:.1%}",
             f"{result['memory_mb']:.0f}", *scores)
        )  # fmt: skip
    heads = ("way", "CPU ms an image", "views", "computed again", "MB a worker")
    print(table((*heads, *(f"{half}: balanced / AUC" for half in halves)), rows))
    print(conditions_text(conditions | {"images": {half: len(one) for half, one in halves.items()}}))
    replace_json(RESULTS, {"conditions": conditions, "ways": results})
    print(f"Written to {RESULTS}")


if __name__ == "__main__":
    main()
