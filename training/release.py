"""Turns a finished run into a released model: `python -m training.release --data ROOT --run runs/NAME --version 1.0`.

Calibrates on the calibration split and, with --rounds, on what the models of training.unseen say of what they had not
seen; scores on the test split and on the pictures that the project carries; puts weights and card into
model_store/released.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import torch

from handlers.classifier import Classifier
from training.calibration import fit_open_temperature
from training.data import CLASSES, Record, data_digest, labelled, read_artifact, split
from training.evaluate import conditions, evaluate, predict
from training.files import replace_file, replace_json
from training.recipe import read_settings
from training.unseen import ERROR, Unseen, calibrate, finished_rounds

RELEASED = Path(__file__).resolve().parent.parent / "model_store" / "released"
# Made by tests/make_frozen.py: what anybody can score, to see that weights and preprocessing are still the released
# ones. It measures no quality.
FROZEN = Path(__file__).resolve().parent.parent / "tests" / "golden"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the ArtiFact root that the run was trained on")
    parser.add_argument("--run", type=Path, required=True, help="the run's folder")
    parser.add_argument(
        "--rounds", type=Path, help="the --out of a finished training.unseen of the same recipe; another is refused"
    )
    parser.add_argument("--version", required=True, help="of the released model, such as 1.0")
    parser.add_argument("--released", type=Path, default=RELEASED, help="where weights and card go")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()

    settings = read_settings(arguments.run)
    records, device = read_artifact(arguments.data), torch.device("cuda" if torch.cuda.is_available() else "cpu")
    parts = split(records, int(settings["seed"]))
    trained = [task for task in CLASSES if (arguments.run / f"{task}.json").exists()]
    if not trained:
        parser.error(f"{arguments.run} holds no finished model")
    for task in trained:
        unseen: list[Unseen] = []
        if arguments.rounds:
            try:
                rounds = finished_rounds(arguments.rounds, task, device, records, arguments.workers, run=arguments.run)
            except ValueError as error:
                sys.exit(f"error: {error}")
            if not rounds:
                parser.error(f"{arguments.rounds} holds no finished round of training.unseen")
            unseen = [each for one in rounds for each in one.unseen("validation")]
        release(task, arguments, settings, parts, unseen, data_digest(records, arguments.data))
    print(
        f"Next: python -m training.quantise --data {arguments.data} --rounds runs/unseen (served in fp32 until then), "
        "python -m training.results (the README's table), make serve"
    )


def release(
    task: str,
    arguments: argparse.Namespace,
    settings: dict[str, str],
    parts: dict[str, list[Record]],
    unseen: list[Unseen],
    digest: str,
) -> None:
    """Calibrates one task's model of a run, puts it into the released folder, scores it, and completes its card."""
    card = json.loads((arguments.run / f"{task}.json").read_text()) | {"version": arguments.version}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    classifier = Classifier(arguments.run, task, device)

    print(f"{task}: calibrating")
    items = labelled(parts["calibration"], task)
    logits = predict(classifier, items, arguments.batch, arguments.workers)
    labels = np.array([label for _, label in items])
    card["calibrated_on_unseen"] = [each.fold.name for each in unseen]
    if task != "authenticity":
        card["temperature"] = fit_open_temperature((logits, labels), [each.answers for each in unseen])
    else:
        card["temperature"], thresholds, shown = calibrate((logits, labels), unseen)
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
    described = conditions(arguments.data, "test", int(settings["seed"])) | {"data_digest": digest}
    card["test"] = figures | {"conditions": described}
    card["frozen"] = frozen_figures(classifier)
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


def frozen_figures(classifier: Classifier) -> dict:
    """What a released model makes of the pictures that the project carries, by figure."""
    items = labelled(read_artifact(FROZEN), classifier.card.name)
    return evaluate(classifier, items, predict(classifier, items, 32, workers=0))


if __name__ == "__main__":
    main()
