"""Turns a finished run into a released model: `python -m training.release --data ROOT --run runs/NAME --version 1.0`.

Calibrates on the calibration split, scores on the test split, and puts weights and card into model_store/released.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import torch

from handlers.classifier import Classifier
from training.calibration import fit_temperature, verdict_thresholds
from training.data import CLASSES, Record, labelled, read_artifact, split
from training.evaluate import conditions, evaluate, predict
from training.files import replace_file, replace_json

RELEASED = Path(__file__).resolve().parent.parent / "model_store" / "released"
ERROR = 0.05  # of photographs called generated, and of generated pictures called real


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the ArtiFact root that the run was trained on")
    parser.add_argument("--run", type=Path, required=True, help="the run's folder")
    parser.add_argument("--version", required=True, help="of the released model, such as 1.0")
    parser.add_argument("--released", type=Path, default=RELEASED, help="where weights and card go")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()

    settings = json.loads((arguments.run / "settings.json").read_text())
    parts = split(read_artifact(arguments.data), int(settings["seed"]))
    trained = [task for task in CLASSES if (arguments.run / f"{task}.json").exists()]
    if not trained:
        parser.error(f"{arguments.run} holds no finished model")
    for task in trained:
        release(task, arguments, settings, parts)
    print(
        f"Next: python -m training.quantise --data {arguments.data} --rounds runs/unseen (served in fp32 until then), "
        "python -m training.results (the README's table), make serve"
    )


def release(task: str, arguments: argparse.Namespace, settings: dict[str, str], parts: dict[str, list[Record]]) -> None:
    """Calibrates one task's model of a run, puts it into the released folder, scores it, and completes its card."""
    card = json.loads((arguments.run / f"{task}.json").read_text()) | {"version": arguments.version}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    classifier = Classifier(arguments.run, task, device)

    print(f"{task}: calibrating")
    items = labelled(parts["calibration"], task)
    logits = predict(classifier, items, arguments.batch, arguments.workers)
    labels = np.array([label for _, label in items])
    card["temperature"] = fit_temperature(logits, labels)
    if task == "authenticity":
        probabilities = torch.from_numpy(logits / card["temperature"]).softmax(1).numpy()
        thresholds, shown = verdict_thresholds(probabilities[:, 1], labels, ERROR)
        card["thresholds"] = vars(thresholds)
        card["thresholds_guaranteed"] = shown
        if not shown:
            print(f"authenticity: {len(items)} pictures could not show that errors stay within {ERROR:.0%}")

    arguments.released.mkdir(parents=True, exist_ok=True)
    weights, card_file = arguments.released / f"{task}.safetensors", arguments.released / f"{task}.json"
    replace_file(weights, lambda path: shutil.copy(arguments.run / weights.name, path))
    replace_json(card_file, card)

    print(f"{task}: scoring")
    classifier = Classifier(arguments.released, task, device)
    items = labelled(parts["test"], task)
    figures = evaluate(classifier, items, predict(classifier, items, arguments.batch, arguments.workers))
    card["test"] = figures | {"conditions": conditions(arguments.data, "test", int(settings["seed"]))}
    card["training"] = {
        "script": "training/train.py",
        "commands": settings["commands"],
        "seed": int(settings["seed"]),
        "pictures": {name: len(labelled(part, task)) for name, part in parts.items()},
        "epochs": (arguments.run / "curves.csv").read_text().count("\n") - 1,
    }
    replace_json(card_file, card)
    print(
        f"released {weights.name} {arguments.version}: test accuracy {figures['accuracy']:.1%}, "
        f"balanced {figures['balanced_accuracy']:.1%}, {figures['count']} pictures"
    )


if __name__ == "__main__":
    main()
