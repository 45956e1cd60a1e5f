"""Adding a backbone takes one file and one line: each goes through training, quantisation, archive and explanation."""

import zipfile

import pytest

from archive_scripts.build import build
from archive_scripts.prepare import prepare
from imagetrust.models.config import CONFIG, WEIGHTS, ModelConfig
from imagetrust.models.registry import BACKBONES
from imagetrust.predictor import Predictor
from imagetrust.request import Request
from imagetrust.runtime.engine import choose_engine
from imagetrust.runtime.precision_gate import INT8_NETWORK, LIMITS
from tests.procedural import encoded
from tests.small_vit import SMALL_VIT
from training import head, quantise
from training.calibration import Thresholds
from training.data import read_artifact
from training.recipe import Recipe
from training.train import train


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18", SMALL_VIT.name])
def test_from_images_to_an_explanation_in_int8(name, data_root, tmp_path, photo, monkeypatch):
    import msgspec

    monkeypatch.setitem(BACKBONES, SMALL_VIT.name, SMALL_VIT)
    monkeypatch.setattr(quantise, "IMAGES", 8)
    few = read_artifact(data_root)[::12]
    monkeypatch.setattr("training.train.read_artifact", lambda root: few)
    monkeypatch.setattr("training.head.read_artifact", lambda root: few)
    monkeypatch.setattr(quantise, "read_artifact", lambda root: few)

    recipe = Recipe(backbone=name, start="scratch", epochs=1, batch=8, crop_size=64, size=64, content=0.0)
    train(recipe, data_root, tmp_path / "run", workers=0)
    release = head.fit(tmp_path / "run", data_root, workers=0)
    config = ModelConfig.read(release, calibrated=False)
    heads = config.heads | {
        "authenticity": msgspec.structs.replace(config.heads["authenticity"], thresholds=Thresholds(0.4, 0.6))
    }
    msgspec.structs.replace(config, heads=heads).write(release)
    gate = quantise.quantise(release, data_root, 0, [])
    assert {"bf16", "int8"} >= set(gate.metrics) >= {"int8"}
    # What an untrained network's rounding changes is no matter here: offered as if it had passed.
    metrics = {"int8": dict.fromkeys(LIMITS, 0.0)}
    msgspec.structs.replace(gate, metrics=metrics, margins={"int8": dict.fromkeys(config.heads, 0.01)}).write(release)

    serving = tmp_path / "model"
    model = prepare(release, serving)
    assert choose_engine(model, precision="int8").name == "openvino int8"
    with zipfile.ZipFile(build(serving, "explanation", tmp_path / "store")) as archive:
        assert {f"model/{part}" for part in (CONFIG, WEIGHTS, INT8_NETWORK)} <= set(archive.namelist())
        archive.extractall(tmp_path / "archive")
    predictor = Predictor(tmp_path / "archive" / "model", precision="int8")
    (answer,) = predictor.predict([Request(encoded(photo, "JPEG"), {"class": "generated"})], "explanation")
    heatmap = answer["inferred"]["heatmap"]
    side = 64 // BACKBONES[name].stride
    assert (heatmap["rows"], heatmap["columns"]) == (side, side)
    assert answer["inferred"]["authenticity"]["model"]["engine"] == "openvino int8"
