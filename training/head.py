"""Fit a finished run's last layer anew: `python -m training.head --data ROOT --run runs/NAME`.

The jointly trained heads are fitted to augmented images. Fitted afterwards by logistic regression, on training images
as they are served, a head relies less on what an image shows and more on the rest that the backbone has learnt: known
sources and held-out generators both gain (Kirichenko et al. 2022, arXiv 2204.02937, on last-layer retraining).
Authenticity's head is besides fitted on images weighted so that their content tells less of their class
(training.content).

The run stays as it is. Beside its files appears, at once and whole, a folder `fitted` that is a run of its own; where
it is made from these weights already, nothing is done.
"""

import argparse
import shutil
import sys
from pathlib import Path

import msgspec
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression

from imagetrust.files import file_sha256, replace_json
from imagetrust.models.config import TASKS, WEIGHTS
from imagetrust.models.model import Model
from imagetrust.runtime.engine import exact_engine
from training.content import debiased_weights
from training.data import DataError, Record, absent_classes, balanced_weights, labelled, read_artifact, split
from training.embeddings import Embeddings
from training.groups import without
from training.recipe import RECIPE, Recipe, read_recipe
from training.train import CURVES

FITTED = "fitted"
MADE_FROM = "made_from.json"
LEAST_DEVIATION = 0.1  # of the median: an embedding's element that hardly varies must not get a large weight


def fit_head(
    embeddings: np.ndarray, labels: np.ndarray, weights: np.ndarray, inverse_penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weight (classes, channels) and bias (classes,) of a head for raw embeddings (N, channels).

    labels: (N,) class indices, each class among them. weights: (N,), how much each image counts.
    """
    mean, deviation = embeddings.mean(axis=0), embeddings.std(axis=0)
    deviation = np.maximum(deviation, LEAST_DEVIATION * np.median(deviation))
    model = LogisticRegression(C=inverse_penalty, max_iter=1000)
    model.fit((embeddings - mean) / deviation, labels, sample_weight=weights / weights.mean())
    weight, bias = model.coef_, model.intercept_
    if len(weight) == 1:  # of two classes scikit-learn keeps the difference alone
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    weight = weight / deviation
    return weight, bias - weight @ mean


def fit_heads(
    records: list[Record], embeddings: np.ndarray, recipe: Recipe, device: torch.device, workers: int
) -> dict[str, torch.Tensor]:
    """Return the tensors of the heads, by their names in a weights file, fitted to records and their embeddings.

    Partly real images are left out. Raises DataError where a class has no image.
    """
    row_of = {record.path: row for row, record in enumerate(records)}
    chosen = [record for record in records if not record.is_partly_real]
    tensors = {}
    for task in TASKS:
        items = labelled(chosen, task)
        if absent := absent_classes(chosen, task):
            raise DataError(f"no training image is {', '.join(absent)}")
        debias = task == "authenticity" and recipe.content > 0
        weights = debiased_weights(items, recipe.content, device, workers) if debias else balanced_weights(items)
        weight, bias = fit_head(
            embeddings[[row_of[record.path] for record, _ in items]],
            np.array([label for _, label in items]),
            weights.numpy(),
            recipe.inverse_penalty,
        )
        tensors[f"heads.{task}.weight"] = torch.from_numpy(weight).float().contiguous()
        tensors[f"heads.{task}.bias"] = torch.from_numpy(bias).float().contiguous()
        print(f"{task}: head fitted to {len(items)} images")
    return tensors


def fit(run: Path, data: Path, workers: int = 1, embeddings: Embeddings | None = None) -> Path:
    """Fit the heads of a run and return the folder of the fitted one.

    embeddings: of the run's backbone, where it is one that other runs share; computed here where not given.

    Raises DataError where the data cannot be used, ValueError where the run holds no finished model.
    """
    recipe, out = read_recipe(run / RECIPE), run / FITTED
    made_from = {"weights_sha256": file_sha256(run / WEIGHTS), "recipe": msgspec.to_builtins(recipe)}
    if (out / MADE_FROM).exists() and msgspec.json.decode((out / MADE_FROM).read_bytes()) == msgspec.json.decode(
        msgspec.json.encode(made_from)
    ):
        print(f"{out} already exists, nothing to do.")
        return out
    training = split(without(read_artifact(data), recipe.held_out), recipe.seed)["train"]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = Model(run, device, calibrated=False)
    # By torch: a process that has served by OpenVINO and then trains has crashed (Makefile).
    embeddings = embeddings or Embeddings(exact_engine(model).fast, model.config.preprocessing, None, workers)
    tensors = load_file(run / WEIGHTS) | fit_heads(training, embeddings.of(training), recipe, device, workers)
    partial = run / f".{FITTED}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    save_file(tensors, partial / WEIGHTS)
    msgspec.structs.replace(model.config, weights_sha256=file_sha256(partial / WEIGHTS)).write(partial)
    recipe.write(partial)
    replace_json(partial / MADE_FROM, made_from)
    if (run / CURVES).exists():
        shutil.copy(run / CURVES, partial)
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)
    return out


def main() -> None:
    """Fit from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the ArtiFact root that the run was trained on")
    parser.add_argument("--run", type=Path, required=True, help="the folder of a finished run")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    try:
        out = fit(arguments.run, arguments.data, arguments.workers)
    except (DataError, ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
    print(f"Next: the run in {out} can be released: make release VERSION=...")


if __name__ == "__main__":
    main()
