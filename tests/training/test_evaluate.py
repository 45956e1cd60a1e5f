"""A model is scored on the split of its own seed."""

import json
import shutil
import sys

import numpy as np

from archive_scripts.build import RELEASED
from training import evaluate
from training.data import labelled, read_artifact, split


def test_the_split_is_that_of_the_models_seed(data_root, tmp_path, monkeypatch):
    for suffix in (".json", ".safetensors"):
        shutil.copy(RELEASED / f"authenticity{suffix}", tmp_path)
    card = json.loads((tmp_path / "authenticity.json").read_text())
    (tmp_path / "authenticity.json").write_text(json.dumps(card | {"training": card["training"] | {"seed": 1}}))
    scored = []

    def predict(classifier, items, batch, workers):
        scored.extend(items)
        return np.zeros((len(items), 2), np.float32)

    monkeypatch.setattr(evaluate, "predict", predict)
    monkeypatch.setattr(
        sys, "argv", ["evaluate", "--data", str(data_root), "--weights", str(tmp_path / "authenticity.safetensors")]
    )
    evaluate.main()
    records = read_artifact(data_root)
    assert scored == labelled(split(records, 1)["test"], "authenticity")
    assert scored != labelled(split(records, 0)["test"], "authenticity")
    figures = json.loads((tmp_path / f"authenticity.{data_root.name}.test.json").read_text())
    assert figures["conditions"]["seed"] == "1"
