"""Recipes side by side at one small budget: `python -m training.comparison --data ROOT --resnet18 FILE --lite0 FILE`.

Every recipe trains on the same pictures, for the same number of them, without what the first round of training/folds.py
leaves out, and is scored on validation pictures: of sources that it knows and of generators that it does not. This is
where recipes are chosen; test pictures take no part. A finished recipe is not trained again and the report's rows
under the same conditions stay, so several of these commands can share the work by --only.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from training.data import read_artifact
from training.evaluate import conditions
from training.files import replace_json
from training.folds import FOLDS, ROUNDS
from training.initial_weights import build_network
from training.precision import bf16_is_fast
from training.unseen import Round, score_round

_SHARED = {"train-size": 160, "native": 0.5, "wear": 1, "cutmix": 0}
_RESNET = _SHARED | {"architecture": "resnet18", "lr": 1.5e-3}
_LITE = _SHARED | {"architecture": "efficientnet_lite0", "lr": 1e-3}
TEACHER = "Lite0"  # the recipe whose run teaches others

# name -> options of training.train; "start" is whether it begins from the given weights
RECIPES: dict[str, dict] = {
    "ResNet18, last stage and head only": _RESNET | {"architecture": "resnet18_top"},
    "ResNet18": _RESNET,
    "ResNet18 from scratch": _RESNET | {"start": False},
    "ResNet18, smaller early strides, 96 px": _RESNET | {"architecture": "resnet18_fine", "train-size": 96},
    "ResNet18 taught by Lite0": _RESNET | {"teacher": True},
    "Lite0": _LITE,
    "Lite0 from scratch": _LITE | {"start": False},
    "Lite0, authenticity alone": _LITE | {"task": "authenticity"},
    "Lite0 without averaged weights": _LITE | {"average": 0},
    "Lite0, all crops native": _LITE | {"native": 1},
    "Lite0, all crops resized": _LITE | {"native": 0},
    "Lite0, 128 px": _LITE | {"train-size": 128},
    "Lite0, 192 px": _LITE | {"train-size": 192},
    "Lite0, enlarged to 256 px": _LITE | {"train-size": 256, "size": 256, "native": 0},
    "Lite0, pixels and nearest residual": _LITE | {"architecture": "lite0_pixels_and_nearest"},
    "Lite0, pixels and median residual": _LITE | {"architecture": "lite0_pixels_and_median"},
    "Lite0, 192 px, all crops native": _LITE | {"train-size": 192, "native": 1},
    "Lite0, 192 px, all crops native, pixels and nearest residual": (
        _LITE | {"train-size": 192, "native": 1, "architecture": "lite0_pixels_and_nearest"}
    ),
    "Lite0, nearest residual alone": _LITE | {"architecture": "lite0_nearest"},
    "Lite0, spectrum alone": _LITE | {"architecture": "lite0_spectrum"},
    "Lite0 without undisclosed families": _LITE | {"disclosed-only": True},
    "Lite0, 192 px, all crops native, without undisclosed families": (
        _LITE | {"train-size": 192, "native": 1, "disclosed-only": True}
    ),
    "Lite0, 192 px, all crops native, a third of the wear": _LITE | {"train-size": 192, "native": 1, "wear": 0.35},
    "Lite0, 192 px, all crops native, no wear": _LITE | {"train-size": 192, "native": 1, "wear": 0},
}


def train(name: str, arguments: argparse.Namespace, run: Path) -> None:
    """Trains one recipe in a process of its own, to its end, from where it was."""
    recipe = {"task": "both"} | RECIPES[name]
    weights = arguments.resnet18 if recipe["architecture"].startswith("resnet") else arguments.lite0
    options = ["--init", str(weights) if recipe.pop("start", True) else "none"]
    if recipe.pop("teacher", False):
        options += ["--teacher", str(arguments.out / TEACHER)]
    if recipe.pop("disclosed-only", False):
        options.append("--disclosed-only")
    options += [part for option, value in recipe.items() for part in (f"--{option}", str(value))]
    command = [
        sys.executable, "-m", "training.train", "--data", str(arguments.data), "--out", str(run), "--resume",
        "--leave-out", *ROUNDS[0], "--epochs", str(arguments.epochs), "--batch", "32", "--workers", "0",
        "--seed", str(arguments.seed), *(["--threads", str(arguments.threads)] if arguments.threads else []), *options,
    ]  # fmt: skip
    subprocess.run(command, check=True)


def cost(architecture: str, size: int) -> dict[str, float]:
    """GFLOP (two a multiplication and addition) and milliseconds of one picture in fp32, one thread, median of 15."""
    network = build_network(architecture, "none", 6).eval()
    picture = torch.zeros(1, 3, size, size)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            with FlopCounterMode(display=False) as counter:
                network(picture)
            times = []
            for _ in range(15):
                started = time.perf_counter()
                network(picture)
                times.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    return {"gflop": counter.get_total_flops() / 1e9, "milliseconds": statistics.median(times) * 1e3}


def figures(run: Path, records, seed: int, device: torch.device) -> dict[str, float]:
    """Balanced accuracy of a trained recipe: on known sources at the epoch kept, and on generators left out."""
    with (run / "curves.csv").open() as file:
        kept = max(csv.DictReader(file), key=lambda row: float(row["authenticity_balanced_accuracy"]))
    one = Round(run, ROUNDS[0], "authenticity", device, records, seed, workers=0)
    folds, _ = score_round(one.calibration(), one.unseen("validation"), elsewhere=[])
    left_out = [folds[name]["balanced_accuracy"] for name in ROUNDS[0] if not FOLDS[name].photographs]
    return {
        "seen": float(kept["authenticity_balanced_accuracy"]),
        "seen_generator_type": float(of_type) if (of_type := kept.get("generator_type_balanced_accuracy")) else None,
        "unseen": sum(left_out) / len(left_out),
        "folds": {name: fold["balanced_accuracy"] for name, fold in folds.items()},
    }


def reported(report: Path, described: dict[str, str]) -> dict[str, dict]:
    """The rows of an earlier report under the same conditions, whose runs may be gone; none where they differ."""
    if not report.exists():
        return {}
    earlier = json.loads(report.read_text())
    return earlier["recipes"] if earlier["conditions"] == described else {}


def table(rows: dict[str, dict]) -> str:
    """Markdown, best first by what counts."""
    lines = ["| recipe | unseen generators | seen | generator type, seen | GFLOP | ms |", "|---|---|---|---|---|---|"]
    for name, row in sorted(rows.items(), key=lambda item: -item[1]["unseen"]):
        kind = row["seen_generator_type"]
        lines.append(
            f"| {name} | {row['unseen']:.1%} | {row['seen']:.1%} | {'–' if kind is None else f'{kind:.1%}'} "
            f"| {row['gflop']:.2f} | {row['milliseconds']:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="an ArtiFact root")
    parser.add_argument("--resnet18", type=Path, required=True, help="ResNet18's initial weights")
    parser.add_argument("--lite0", type=Path, required=True, help="EfficientNet-Lite0's initial weights")
    parser.add_argument("--out", type=Path, default=Path("runs/comparison"), help="one folder a recipe")
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--report", type=Path, default=Path(__file__).parent / "reports" / "comparison.json")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="as of training.train")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    records = read_artifact(arguments.data)
    for name in arguments.only:
        run = arguments.out / name
        train(name, arguments, run)
        replace_json(run / "figures.json", figures(run, records, arguments.seed, device))
    described = conditions(arguments.data, "validation", arguments.seed, bf16_is_fast(device))
    budget = {"epochs": str(arguments.epochs), "left out": ", ".join(ROUNDS[0])}
    rows, costs = reported(arguments.report, described | budget), {}
    for name in RECIPES:
        run = arguments.out / name
        if (run / "figures.json").exists():
            card = json.loads((run / "authenticity.json").read_text())
            network = (card["architecture"], card["preprocessing"]["size"])
            costs[network] = costs.get(network) or cost(*network)
            rows[name] = json.loads((run / "figures.json").read_text()) | costs[network]
    replace_json(arguments.report, {"conditions": described | budget, "recipes": rows})
    print(table(rows))
    print(f"All figures: {arguments.report}")


if __name__ == "__main__":
    main()
