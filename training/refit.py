"""Fits a finished run's heads anew: `python -m training.refit --data ROOT --run runs/NAME`.

A head trained together with its trunk follows the trunk's last steps on worn and mixed pictures. Fitted afterwards by
logistic regression, on training pictures as they will be served, it relies less on what a picture shows and more on the
rest that the trunk has learnt: known sources and unseen generators both gain (docs/training.md; Kirichenko et al. 2022,
arXiv 2204.02937, on retraining the last layer). Authenticity's head is besides fitted on pictures weighed so that their
content tells less of their class (training/content.py).

The run stays as it is. Beside its files appears, at once and whole, a folder `refitted` that is a run of its own; where
it is there already and was made from these weights with this --content, nothing is done.
"""

import argparse
import ast
import json
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader
from tqdm import tqdm

from handlers.classifier import Classifier
from handlers.network import file_sha256
from handlers.preprocessing import needed_side
from training.content import weights_without_content
from training.data import CLASSES, Pictures, balanced_weights, labelled, read_artifact, split
from training.files import replace_json
from training.folds import FOLDS
from training.heads import fit_head
from training.precision import autocast, bf16_is_fast
from training.recipe import read_settings
from training.transforms import EvaluationTransform


def pooled_features(classifier: Classifier, records, workers: int) -> np.ndarray:
    """(N, channels) float32: what the head sees of the records' pictures, as served."""
    preprocessing = classifier.card.preprocessing
    pictures = Pictures(
        [(record, 0) for record in records], EvaluationTransform(preprocessing), needed_side(preprocessing)
    )
    loader = DataLoader(pictures, batch_size=32, num_workers=workers)
    with autocast(classifier.device, bf16_is_fast(classifier.device)):
        pooled = [
            classifier.features(tensors).float().mean(dim=(2, 3)).cpu()
            for tensors, _ in tqdm(loader, desc="features", mininterval=5)
        ]
    return torch.cat(pooled).numpy()


def refitted(run: Path) -> Path:
    """Where the run with heads fitted anew lies."""
    return run / "refitted"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the ArtiFact root that the run was trained on")
    parser.add_argument("--run", type=Path, required=True, help="the folder of a finished run")
    parser.add_argument(
        "--content", type=float, default=1.0, help="how far authenticity's head is kept from judging by content; 0: not"
    )
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()

    out = refitted(arguments.run)
    tasks = [task for task in CLASSES if (arguments.run / f"{task}.json").exists()]
    if not tasks:
        parser.error(f"{arguments.run} holds no finished model")
    made_from = {task: file_sha256(arguments.run / f"{task}.safetensors") for task in tasks}
    made_with = {"content": str(arguments.content), "refitted_from": made_from}
    if out.exists() and made_with.items() <= read_settings(out).items():
        print(f"{out} is there already.")
        return
    settings = read_settings(arguments.run)
    left_out = [FOLDS[name] for name in ast.literal_eval(settings["leave_out"])]
    records = read_artifact(arguments.data)
    records = [record for record in records if not any(fold.is_left_out(record) for fold in left_out)]
    training = split(records, int(settings["seed"]))["train"]

    temporary = out.with_name(".refitted.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    row_of = {record.path: row for row, record in enumerate(training)}
    seen: dict[str, np.ndarray] = {}  # by trunk: the heads of one trunk see the same
    for task in tasks:
        classifier = Classifier(arguments.run, task, device)
        if classifier.trunk_id not in seen:
            seen[classifier.trunk_id] = pooled_features(classifier, training, arguments.workers)
        items = labelled(training, task)
        if task == "authenticity" and arguments.content:
            weights = weights_without_content(items, arguments.content, device, arguments.workers)
        else:
            weights = balanced_weights(items)
        weight, bias = fit_head(
            seen[classifier.trunk_id][[row_of[record.path] for record, _ in items]],
            np.array([label for _, label in items]),
            weights.numpy(),
        )
        head = {"fc.weight": torch.from_numpy(weight).half().contiguous(), "fc.bias": torch.from_numpy(bias).half()}
        weights_file = temporary / f"{task}.safetensors"
        save_file(load_file(arguments.run / weights_file.name) | head, weights_file)
        card = json.loads((arguments.run / f"{task}.json").read_text())
        replace_json(temporary / f"{task}.json", card | {"weights_sha256": file_sha256(weights_file)})
        print(f"{task}: head fitted on {len(items)} training pictures")
    command = f"python -m training.refit {shlex.join(sys.argv[1:])}"
    replace_json(temporary / "settings.json", settings | made_with | {"commands": [*settings["commands"], command]})
    shutil.copy(arguments.run / "curves.csv", temporary)
    shutil.rmtree(out, ignore_errors=True)
    temporary.rename(out)
    print(f"Next: python -m training.release --data {arguments.data} --run {out} --version 0.1")


if __name__ == "__main__":
    main()
