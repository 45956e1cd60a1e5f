"""A run learns, survives a crash, and is the same for the same seed on any number of workers."""

import csv
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file

from imagetrust.models.config import TASKS
from imagetrust.models.model import Model
from imagetrust.models.registry import BACKBONES
from server.instance import free_ports
from tests.procedural import make_data_set
from tests.releases import untrained_release
from tests.small_vit import SMALL_VIT
from training.data import DataError, read_artifact
from training.recipe import Recipe, RecipeError
from training.train import CHECKPOINT, CURVES, train

ROOT = Path(__file__).resolve().parent.parent.parent
SMALL = Recipe(
    backbone="resnet18", start="scratch", epochs=3, batch=16, crop_size=64, size=64, learning_rate=2e-3,
    precision="fp32", content=0.0,
)  # fmt: skip


def replaced(**changes) -> Recipe:
    return msgspec.structs.replace(SMALL, **changes)


def rows(folder: Path) -> list[dict[str, str]]:
    if not (folder / CURVES).exists():
        return []
    with (folder / CURVES).open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="session")
def small_data(tmp_path_factory) -> Path:
    """A procedural data set of 5 sources with 40 images each."""
    return make_data_set(tmp_path_factory.mktemp("small") / "procedural", per_source=40)


def command(recipe_folder: Path, data: Path, out: Path, *, processes: int = 1) -> list[str]:
    launcher = ["-m", "training.train"]
    if processes > 1:
        launcher = [
            "-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", str(free_ports(1)[0]),
            *launcher,
        ]  # fmt: skip
    recipe = str(recipe_folder / "recipe.json")
    return [sys.executable, *launcher, "--data", str(data), "--out", str(out), "--recipe", recipe, "--workers", "0"]


def test_two_processes_train_one_model_that_learns(data_root, tmp_path):
    """The traces of the procedural images are plain: a run that does not find them is broken."""
    recipe = replaced(epochs=5, batch=8, learning_rate=8e-3, cutmix=0.0, strength=0.0, average=0.9, native=0.0)
    recipe.write(tmp_path)
    done = subprocess.run(
        command(tmp_path, data_root, tmp_path / "run", processes=2), cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert [int(row["epoch"]) for row in rows(tmp_path / "run")] == list(range(1, recipe.epochs + 1))
    for task, classes in TASKS.items():
        best = max(float(row[f"{task}_balanced_accuracy"]) for row in rows(tmp_path / "run"))
        assert best > 1.3 / len(classes), task
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "recipe.json", "checkpoint.pt", "curves.csv", "config.json", "weights.safetensors",
    }  # fmt: skip
    assert Model(tmp_path / "run", calibrated=False).config.uncalibrated == ["authenticity"]


def test_a_killed_run_goes_on_where_it_was(small_data, tmp_path):
    replaced(epochs=3).write(tmp_path)
    out = tmp_path / "run"
    with subprocess.Popen(
        command(tmp_path, small_data, out), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as first:
        deadline = time.monotonic() + 120
        while not (out / CHECKPOINT).exists():
            assert first.poll() is None and time.monotonic() < deadline, first.stdout.read()
            time.sleep(0.02)
        first.send_signal(signal.SIGKILL)
    assert len(rows(out)) in (1, 2)
    train(replaced(epochs=3), small_data, out, workers=0)
    assert [row["epoch"] for row in rows(out)] == ["1", "2", "3"]
    progress = torch.load(out / CHECKPOINT, weights_only=True)["progress"]
    assert progress["epoch"] == 3 and progress["step"] == 0
    with pytest.raises(RecipeError, match="epochs: 3 and 4"):
        train(replaced(epochs=4), small_data, out)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_same_recipe_gives_the_same_weights(small_data, tmp_path, workers):
    weights = []
    for name in ("one", "two"):
        train(replaced(epochs=1, strength=1.0), small_data, tmp_path / name, workers)
        weights.append((tmp_path / name / "weights.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_a_backbone_may_stay_as_it_starts(small_data, tmp_path):
    start = untrained_release(tmp_path / "start", BACKBONES["resnet18"])
    train(replaced(epochs=0, start=str(start)), small_data, tmp_path / "run")
    before, after = (Model(folder, calibrated=False).network.state_dict() for folder in (start, tmp_path / "run"))
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items() if tensor.is_floating_point())


def test_a_pretrained_backbone_that_stays_is_not_written(small_data, tmp_path, monkeypatch):
    torch.manual_seed(1)
    weights = dict(SMALL_VIT.build(SMALL.size).state_dict())
    monkeypatch.setitem(BACKBONES, SMALL_VIT.name, dataclasses.replace(SMALL_VIT, pretrained=lambda: weights))
    train(replaced(backbone=SMALL_VIT.name, epochs=0, start="pretrained"), small_data, tmp_path / "run")
    assert {name.split(".")[0] for name in load_file(tmp_path / "run" / "weights.safetensors")} == {"heads"}
    network = Model(tmp_path / "run", calibrated=False).network.state_dict()
    assert all(torch.allclose(network[name], tensor, atol=1e-3) for name, tensor in weights.items())


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"backbone": "small_vit", "start": "pretrained"}, "no pretrained weights"),
        ({"backbone": "resnet18", "start": "release"}, "holds efficientnet_lite0"),
    ],
)
def test_a_start_that_does_not_fit_is_named(small_data, tmp_path, changes, word, monkeypatch):
    from tests.releases import RELEASE

    monkeypatch.setitem(BACKBONES, SMALL_VIT.name, SMALL_VIT)
    if changes["start"] == "release":
        changes = changes | {"start": str(RELEASE)}
    with pytest.raises(RecipeError, match=word):
        train(replaced(**changes), small_data, tmp_path / "run")


def test_wrong_data_are_named(tmp_path, small_data):
    with pytest.raises(DataError, match="not an ArtiFact root"):
        train(SMALL, tmp_path, tmp_path / "run")
    with pytest.raises(DataError, match="do not fill one batch"):
        train(replaced(batch=1000), small_data, tmp_path / "large")


def test_a_broken_image_is_named(tmp_path, small_data):
    broken = shutil.copytree(small_data, tmp_path / "broken")
    for record in read_artifact(broken):
        record.path.write_bytes(record.path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"img\d+\.jpg"):
        train(SMALL, broken, tmp_path / "run", workers=0)
