"""One command from images to a release: it goes on where it stopped, and refuses what it must not replace."""

import dataclasses
import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from archive_scripts.prepare import prepare
from evaluation.metrics_file import METRICS
from evaluation.report import Sizes
from imagetrust.models.config import CONFIG, TASKS, WEIGHTS, ModelConfig
from imagetrust.models.registry import BACKBONES
from imagetrust.predictor import Predictor
from imagetrust.request import Request
from tests.procedural import encoded, make_data_set
from tests.small_vit import SMALL_VIT
from tests.training.test_train import replaced
from training import release as module
from training.data import data_digest, read_artifact
from training.groups import GROUPS, Group
from training.head import FITTED
from training.recipe import RecipeError
from training.release import add_version, release, update_table

SMALLEST = replaced(epochs=1, size=32, crop_size=32)
SMALLEST_SIZES = Sizes(corrupted=4, attacked=2, mapped=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A procedural data set with a second GAN, so that one can be held out."""
    root = make_data_set(tmp_path_factory.mktemp("data") / "procedural", per_source=60)
    shutil.copytree(root / "checker_gan", root / "other_gan")
    with (root / "sources.csv").open("a") as file:
        file.write("other_gan,gan,other_gan\n")
    return root


@pytest.fixture(scope="module")
def two_groups():
    """Two held-out runs, each without a procedural source."""
    groups = {
        "made": Group("made", "a procedural generator", r"^checker_gan$"),
        "shot": Group("shot", "a procedural camera", r"^camera_b$", True),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, group in groups.items():
            patch.setitem(GROUPS, name, group)
        patch.setattr("training.held_out.RUNS", tuple((name,) for name in groups))
        patch.setattr("training.quantise.IMAGES", 16)
        yield patch


@pytest.fixture(scope="module")
def made(data, tmp_path_factory, two_groups):
    """A release of a small recipe with two held-out runs, interrupted once before its report."""
    folder = tmp_path_factory.mktemp("release")
    store, work = folder / "model_store", folder / "work"
    store.mkdir()
    arguments = {"sizes": SMALLEST_SIZES, "workers": 0}

    def interrupted(*_):
        raise KeyboardInterrupt

    with two_groups.context() as breaking:
        breaking.setattr(module.report, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            release("9.9", SMALLEST, data, None, work, store, **arguments)
    assert not (store / "9.9").exists()
    with two_groups.context() as counting:
        counting.setattr(module, "quantise", lambda *_: pytest.fail("quantised twice"))
        target = release("9.9", SMALLEST, data, None, work, store, **arguments)
    return target, work, store


def test_a_release_is_whole(made):
    target, _, store = made
    names = {path.name for path in target.iterdir()}
    assert names >= {CONFIG, WEIGHTS, METRICS, "gate.json", "REPORT.md", "MODEL_CARD.md", "recipe.json"}
    assert (store / "current").read_text() == "9.9\n" and {path.name for path in store.iterdir()} == {"9.9", "current"}


def test_it_says_what_it_is(made, data):
    target, _, _ = made
    config = ModelConfig.read(target)
    assert config.version == "9.9" and config.heads["authenticity"].thresholds is not None
    records = read_artifact(data)
    assert config.training.data.digest == data_digest(records, data) and config.training.data.images == 360
    assert set(config.training.calibrated_on) == {"made", "shot"}
    assert set(config.reference) == {"test"} and sum(config.reference["test"].probability) > 0


def test_every_protocol_has_its_section(made):
    target, _, _ = made
    metrics = json.loads((target / METRICS).read_text())
    assert set(metrics) >= {"test", "held_out", "degraded", "stability", "attacks", "shortcuts", "failures", "maps"}
    assert set(metrics["held_out"]["groups"]) == {"made", "shot"}
    for task in TASKS:
        assert metrics["test"][task]["count"] > 0
    assert "9.9" in (target / "REPORT.md").read_text()


def test_it_can_be_served(made, tmp_path, photo):
    target, _, _ = made
    prepare(target, tmp_path / "model")
    (answer,) = Predictor(tmp_path / "model").predict([Request(encoded(photo, "JPEG"))], "explanation")
    assert answer["inferred"]["authenticity"]["model"]["version"] == "9.9"


def test_a_version_is_never_replaced(made, data):
    _, work, store = made
    with pytest.raises(RecipeError, match="never replaced"):
        release("9.9", SMALLEST, data, None, work, store)


def test_another_recipe_needs_another_folder(made, data):
    _, work, store = made
    with pytest.raises(RecipeError, match="epochs: 1 and 2"):
        release("9.10", msgspec.structs.replace(SMALLEST, epochs=2), data, None, work, store)
    copied = shutil.copytree(work, work.parent / "copied")
    shutil.rmtree(copied / "held_out")
    (copied / "recipe.json").unlink()
    with pytest.raises(RecipeError, match="epochs: 1 and 2"):
        release("9.10", msgspec.structs.replace(SMALLEST, epochs=2), data, None, copied, store)


def test_the_readmes_table_is_replaced_between_its_marks(made, tmp_path):
    target, _, _ = made
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- results -->\nold\n<!-- end of results -->\nafter\n")
    update_table(readme, target)
    text = readme.read_text()
    assert text.startswith("before\n<!-- results -->\n") and text.endswith("\n<!-- end of results -->\nafter\n")
    assert "old" not in text and "9.9" in text
    update_table(readme, target)
    assert readme.read_text() == text


def test_the_command_needs_a_version(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["release", "--data", "nowhere", "--version", "newest"])
    with pytest.raises(SystemExit):
        module.main()
    assert "is not a version" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["release", "--data", "nowhere"])
    with pytest.raises(SystemExit):
        module.main()
    assert "--version" in capsys.readouterr().err


def test_a_frozen_backbone_sees_each_image_once(data, two_groups, tmp_path, photo, monkeypatch):
    """The release holds its heads alone, and one network gave the embeddings of all runs."""
    torch.manual_seed(1)
    weights = dict(SMALL_VIT.build().state_dict())
    two_groups.setitem(
        BACKBONES, SMALL_VIT.name, dataclasses.replace(SMALL_VIT, pretrained=lambda: weights, quantised=False)
    )
    (tmp_path / "store").mkdir()
    fits, fit_heads = [], module.head.fit_heads
    monkeypatch.setattr(module.head, "fit_heads", lambda *arguments: fits.append(fit_heads(*arguments)) or fits[-1])
    frozen = msgspec.structs.replace(SMALLEST, backbone=SMALL_VIT.name, start="pretrained", epochs=0)
    target = release("9.9", frozen, data, None, tmp_path / "work", tmp_path / "store", sizes=SMALLEST_SIZES, workers=0)
    kept = [np.load(shard)["paths"] for shard in (tmp_path / "work" / "embeddings").glob("*.npz")]
    paths = np.concatenate(kept)
    assert len(set(paths)) == len(paths) <= len(read_artifact(data))
    assert {name.split(".")[0] for name in load_file(target / WEIGHTS)} == {"heads"}
    before = load_file(tmp_path / "work" / "release" / WEIGHTS)
    assert not torch.equal(
        load_file(target / WEIGHTS)["heads.authenticity.weight"], before["heads.authenticity.weight"]
    )
    assert ModelConfig.read(target).heads == ModelConfig.read(tmp_path / "work" / "release").heads
    assert "int8" not in json.loads((target / "gate.json").read_text())["metrics"]
    fitted = load_file(tmp_path / "work" / "run" / FITTED / WEIGHTS)
    for task, head in ModelConfig.read(target).heads.items():
        name, added = f"heads.{task}.bias", torch.eye(len(head.classes))[0] * head.real_bias
        assert head.real_bias != 0, "calibration moves real images, and them alone"
        assert torch.allclose(before[name], fitted[name] + added, atol=1e-6)
        assert torch.allclose(load_file(target / WEIGHTS)[name], fits[-1][name] + added, atol=1e-6)
    prepare(target, tmp_path / "model")
    (answer,) = Predictor(tmp_path / "model").predict([Request(encoded(photo, "JPEG"))], "explanation")
    assert answer["inferred"]["authenticity"]["model"]["version"] == "9.9"


def test_a_version_takes_the_place_of_the_one_of_its_kind(tmp_path):
    current = tmp_path / "current"
    assert add_version(current, "1.0") == ["1.0"]
    assert add_version(current, "1.0-fast") == ["1.0", "1.0-fast"]
    assert add_version(current, "1.1") == ["1.1", "1.0-fast"]
    assert add_version(current, "1.1-fast") == ["1.1", "1.1-fast"]
    assert current.read_text() == "1.1\n1.1-fast\n"
