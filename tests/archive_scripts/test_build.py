"""Archives are the same bytes for the same input, hold all they need, and refuse what does not fit."""

import json
import math
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from archive_scripts.build import ENDPOINTS, ROOT, build, packed_code
from imagetrust.models.config import ModelConfig
from server import sizing
from server.sizing import Machine, this_machine
from tests.releases import RELEASE, archive_of


def settings_of(archive: Path) -> dict:
    with zipfile.ZipFile(archive) as opened:
        return yaml.safe_load(opened.read("model-config.yaml"))


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_two_builds_give_the_same_bytes(endpoint, serving_folder, archives, tmp_path, monkeypatch):
    """Whatever the cores and GPUs of the machine that builds."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)))
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(sizing, "cpu_quota", lambda: math.inf)
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nprintf '0\\n1\\n'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert this_machine() == Machine(16, 2)
    again = build(serving_folder, endpoint, tmp_path)
    assert again.read_bytes() == (archives / again.name).read_bytes()


def test_what_editors_leave_is_not_packed(tmp_path, monkeypatch):
    shown = {"handlers/authenticity.py", "imagetrust/answer.schema.json", "imagetrust/provenance/bounds.py"}
    left = {"handlers/authenticity.py~", "handlers/.#authenticity.py", "handlers/.ipynb_checkpoints/payload.py"}
    for name in shown | left:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr("archive_scripts.build.ROOT", tmp_path)
    assert set(packed_code("authenticity")) == shown | {"authenticity.py"}


def test_nothing_is_left_beside_the_archive(archives):
    assert sorted(path.name for path in archives.iterdir()) == sorted(map(archive_of, ENDPOINTS))


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_an_archive_holds_code_weights_and_settings(endpoint, archives):
    with zipfile.ZipFile(archives / archive_of(endpoint)) as archive:
        names = archive.namelist()
        manifest = json.loads(archive.read("MAR-INF/MANIFEST.json"))["model"]
        config = yaml.safe_load(archive.read("model-config.yaml"))
    assert (manifest["modelName"], manifest["handler"]) == (endpoint, f"{endpoint}.py")
    assert manifest["modelVersion"] == ModelConfig.read(RELEASE).version
    assert {"model/config.json", "model/weights.safetensors", "model/network.fp32.xml"} <= set(names)
    assert not [name for name in names if name.endswith((".pt", ".pth", ".pkl", ".pyc"))]
    assert all(name.startswith("model/network.") for name in names if name.endswith(".bin"))  # OpenVINO's: no pickles
    assert set(config) == {"responseTimeout", "startupTimeout", "deviceType", "handler"}


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_an_archive_runs_without_the_checkout(endpoint, archives, tmp_path):
    """Unpacked alone, in an interpreter that cannot see this project, the handler loads and answers."""
    with zipfile.ZipFile(archives / archive_of(endpoint)) as archive:
        archive.extractall(tmp_path)
    program = f"""
import sys
sys.path[:] = [path for path in sys.path if path and not path.startswith({str(ROOT)!r} + "/tests")]
sys.path.append({str(tmp_path)!r})
from types import SimpleNamespace
from ts.model_loader import ModelLoaderFactory
service = ModelLoaderFactory.get_model_loader().load({endpoint!r}, {str(tmp_path)!r}, "{endpoint}.py", None, 1)
import handlers, imagetrust
for package in (handlers, imagetrust):
    assert package.__file__.startswith({str(tmp_path)!r}), package.__file__
assert not [name for name in sys.modules if name.split(".")[0] in ("training", "archive_scripts", "server")]
print("answered", service.context.model_name)
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "answered" in done.stdout


def test_settings_can_be_replaced(serving_folder, tmp_path):
    config = settings_of(build(serving_folder, "authenticity", tmp_path, {"deviceIds": [1, 0], "minWorkers": 2}))
    assert config["deviceIds"] == [1, 0] and config["minWorkers"] == 2


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_by_default_no_host_is_allowed(endpoint, archives):
    assert not settings_of(archives / archive_of(endpoint))["handler"].get("manifest_hosts")


def test_command_line(tmp_path):
    command = [sys.executable, "-m", "archive_scripts.build", "--release", str(RELEASE), "--model-store", str(tmp_path)]
    hosts = ["manifests.example.com", "http://10.0.0.1:8080"]
    done = subprocess.run(
        [*command, "--devices", "authenticity=0,1", "--manifest-hosts", *hosts],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("*.mar"))) == 3 and "Next:" in done.stdout
    assert settings_of(tmp_path / archive_of("authenticity"))["deviceIds"] == [0, 1]
    assert settings_of(tmp_path / archive_of("explanation"))["handler"] == {
        "manifest_hosts": hosts,
        "precision": "auto",
    }
    assert "manifest_hosts" not in settings_of(tmp_path / archive_of("authenticity"))["handler"]
    assert RELEASE.name in done.stdout
    wrong = subprocess.run([*command, "--devices", "nothing=0"], cwd=ROOT, capture_output=True, text=True)
    assert wrong.returncode == 2 and "ENDPOINT=VALUE" in wrong.stderr
    wrong = subprocess.run([*command, "--manifest-hosts", "*.example.com"], cwd=ROOT, capture_output=True, text=True)
    assert wrong.returncode == 2 and "'*.example.com' is not HOST" in wrong.stderr
    wrong = subprocess.run([*command, "--release", "nowhere"], cwd=ROOT, capture_output=True, text=True)
    assert wrong.returncode == 1 and "config.json is not there" in wrong.stderr
